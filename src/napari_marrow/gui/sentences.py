"""What a person reads when something went wrong: one sentence."""

from __future__ import annotations

import errno

from napari_marrow.errors import MarrowError


def sentence(error: BaseException) -> str:
    """Return one sentence that names the fault and, where it is known, the remedy."""
    if isinstance(error, MarrowError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full: free some space and press Run again; what was finished is kept."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to use '{error.filename}': check its owner and mode, or choose another folder."
    if isinstance(error, MemoryError):
        return "The memory is full: close other programs, or show a smaller image, and try again."
    reason = " ".join(str(error).split())
    return f"napari-marrow met something it does not handle ({type(error).__name__}: {reason}); see the log for where."
