# Two commands for a fresh machine:
#   make demo    sets everything up and analyses a simulated study of six organoids
#   make test    sets everything up and passes the tests
# Both install what they need from the system on Debian and Ubuntu (as root or through sudo) and put the rest into $(VENV).

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PYSIDE ?= .venv-pyside
DEMO ?= demo

BIN := $(VENV)/bin
PYTHON_PACKAGES := python3 python3-venv
# What Qt and OpenGL need to open a window, and a virtual screen for machines without one
WINDOW_PACKAGES := xvfb libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 \
  libxcb-cursor0 libxkbcommon-x11-0 libdbus-1-3 libgl1 libegl1 libopengl0 libgl1-mesa-dri fontconfig
SCREEN := xvfb-run -a -s "-screen 0 1600x1000x24"

.PHONY: demo test check pytest pyside package lowest interchange docs screenshots clean system-python system-python-packages system-window

demo: $(VENV)/.installed-demo
	$(BIN)/marrow demo --out $(DEMO)

test: $(VENV)/.installed-test check docs pytest

check:
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

# Windows in a process of their own: the LLVM of software OpenGL and that of torch's compiler do not get on in one
# (side by side, as each takes one core most of the time; what the windows' tests say comes at the end)
pytest:
	@$(SCREEN) $(BIN)/python -m pytest -m gui $(PYTEST) >$(VENV)/windows.log 2>&1 & windows=$$!; \
	$(BIN)/python -m pytest -m "not gui" $(PYTEST); rest=$$?; \
	wait $$windows; shown=$$?; cat $(VENV)/windows.log; exit $$((rest | shown))

# The window's tests under PySide6, in an environment without PyQt6
pyside: $(PYSIDE)/.installed
	QT_API=pyside6 $(SCREEN) $(PYSIDE)/bin/python -m pytest -m gui tests/gui

# The documentation into site/; a warning is an error
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The pictures of the window in the documentation; look at each before you keep it
screenshots: $(VENV)/.installed-test
	$(SCREEN) $(BIN)/python -m napari_marrow.gui.screenshots docs/images

# Wheel and sdist into dist/, checked, and the wheel tried in empty environments
package: system-python system-window
	.ci/package

# The tests with the lowest versions that pyproject.toml names
lowest: system-python
	.ci/lowest

# Tracks to the data model of napari-track-edit, edited there, and back
interchange: $(VENV)/.installed-test
	.ci/interchange $(BIN)/python

$(VENV)/bin/python:
	$(MAKE) system-python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed-demo: pyproject.toml | $(VENV)/bin/python
	$(MAKE) system-window
	$(BIN)/python -m pip install --quiet -e '.[gui]'
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(MAKE) system-window
	$(BIN)/python -m pip install --quiet -e '.[all,test,docs]'
	touch $@

$(PYSIDE)/.installed: pyproject.toml
	$(MAKE) system-python system-window
	$(PYTHON) -m venv $(PYSIDE)
	$(PYSIDE)/bin/python -m pip install --quiet --upgrade pip
	$(PYSIDE)/bin/python -m pip install --quiet -e '.[pyside,cellpose,cluster,formats,anndata,remote,test]'
	touch $@

# apt-get only where it exists and something is missing; elsewhere the README names what to install
define install_system
	@command -v apt-get >/dev/null || { echo "No apt-get here: see README for what the system needs."; exit 0; }; \
	missing=""; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	echo "Installing from the system's packages:$$missing"; \
	$$sudo apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -q $$missing >/dev/null
endef

system-python:
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || $(MAKE) system-python-packages

system-python-packages:
	$(call install_system,$(PYTHON_PACKAGES))

system-window:
	$(call install_system,$(WINDOW_PACKAGES))

clean:
	rm -rf $(VENV) $(PYSIDE) $(DEMO) build dist site .mypy_cache .ruff_cache .pytest_cache
