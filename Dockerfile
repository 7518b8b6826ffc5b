# The command line for clusters and servers: no window, CPU networks, readers of microscope files, Dask.
#
#   docker build -t napari-marrow .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" napari-marrow run plate.marrow --executor processes
#   apptainer build napari-marrow.sif docker-daemon://napari-marrow:latest
#
# For NVIDIA GPUs:  docker build --build-arg EXTRAS=formats,cluster,anndata,cellpose -t napari-marrow:gpu .

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
RUN pip install --no-cache-dir build
COPY . /source
RUN python -m build --wheel --outdir /wheels /source

FROM python:${PYTHON}-slim
ARG EXTRAS=formats,cluster,anndata
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[${EXTRAS}]" && rm -r /wheels
# The image may be read-only and its user without a home: what is compiled and kept goes where everyone may write.
ENV NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    NAPARI_MARROW_MODELS=/data/models \
    PYTHONUTF8=1
RUN useradd --create-home marrow
USER marrow
WORKDIR /data
ENTRYPOINT ["marrow"]
CMD ["--help"]
