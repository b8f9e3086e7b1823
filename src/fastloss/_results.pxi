# The part of _core that makes arrays for results, large ones in memory of results that are gone.

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept
        void *(*calloc)(void *, size_t, size_t) noexcept
        void *(*realloc)(void *, void *, size_t) noexcept
        void (*free)(void *, void *, size_t) noexcept
    ctypedef struct PyDataMem_Handler:
        char *name
        uint8_t version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object handler)

cdef extern from "results.h":
    void *fl_result_new(void *unused, size_t size) noexcept
    void *fl_result_zeroed(void *unused, size_t count, size_t size) noexcept
    void *fl_result_resized(void *unused, void *result, size_t size) noexcept
    void fl_result_free(void *unused, void *result, size_t size) noexcept

cdef enum:
    # Bytes of a result below which its memory makes no difference.
    LARGE_RESULT = 1 << 17
    # The same for two: stores to them in turn are slow if their lines begin with other elements.
    LARGE_PAIR = 1 << 14

cdef PyDataMem_Handler result_memory
strcpy(result_memory.name, b"fastloss")
result_memory.version = 1
result_memory.allocator = PyDataMemAllocator(
    NULL, fl_result_new, fl_result_zeroed, fl_result_resized, fl_result_free)
cdef object RESULT_MEMORY = PyCapsule_New(&result_memory, "mem_handler", NULL)


cdef bint is_large(double size, int count) noexcept:
    """Whether so many results of so many bytes gain by memory of their own."""
    return size >= (LARGE_RESULT if count == 1 else LARGE_PAIR)


cdef cnp.ndarray new_result(
    int ndim, const cnp.npy_intp *shape, int type_number, cnp.ndarray like
):
    """An array in C order, or with the memory layout of `like`, which has the same shape."""
    if like is None or cnp.PyArray_IS_C_CONTIGUOUS(like):
        return cnp.PyArray_EMPTY(ndim, <cnp.npy_intp *>shape, type_number, 0)
    return np.empty_like(like, cnp.PyArray_DescrFromType(type_number), subok=False)


def new_results(list shapes, dtype, like=None):
    """Arrays of these shapes, as `numpy.empty`; those of that of `like` have its memory layout."""
    cdef double size = max([prod(shape) for shape in shapes]) * dtype.itemsize
    before = PyDataMem_SetHandler(RESULT_MEMORY) if is_large(size, <int>len(shapes)) else None
    try:
        return [
            np.empty_like(like, dtype, subok=False)
            if like is not None and like.shape == shape else np.empty(shape, dtype)
            for shape in shapes
        ]
    finally:
        if before is not None:
            PyDataMem_SetHandler(before)
