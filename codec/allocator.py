"""How the C library's allocator treats memory that is freed."""

import ctypes
import platform

_KEPT, _LARGEST = 1 << 29, 1 << 25  # bytes; glibc takes no larger threshold than the latter
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep up to 512 MiB of freed memory, in pieces of up to 32 MiB, for all of the process's
    future.

    Coding a frame allocates and frees tensors of megabytes hundreds of times. By default glibc
    gives such memory back to the system at once, and every page of it is cleared anew when it is
    wanted again. Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
