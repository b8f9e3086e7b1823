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

# Bytes of a result below which the C library's memory is as fast.
cdef double LARGE_RESULT = 1 << 20

cdef PyDataMem_Handler result_memory
strcpy(result_memory.name, b"fastloss")
result_memory.version = 1
result_memory.allocator = PyDataMemAllocator(
    NULL, fl_result_new, fl_result_zeroed, fl_result_resized, fl_result_free)
cdef object RESULT_MEMORY = PyCapsule_New(&result_memory, "mem_handler", NULL)


cdef cnp.ndarray new_array(
    int ndim, const cnp.npy_intp *shape, int type_number, cnp.ndarray like
):
    """An array in C order, or with the memory layout of `like`, which has the same shape."""
    if like is None or cnp.PyArray_IS_C_CONTIGUOUS(like):
        return cnp.PyArray_EMPTY(ndim, <cnp.npy_intp *>shape, type_number, 0)
    return np.empty_like(like, cnp.PyArray_DescrFromType(type_number), subok=False)


cdef cnp.ndarray new_result(
    int ndim, const cnp.npy_intp *shape, int type_number, cnp.ndarray like
):
    cdef double size = 4 if type_number == cnp.NPY_FLOAT32 else 8
    cdef int axis
    for axis in range(ndim):
        size *= shape[axis]
    if size < LARGE_RESULT:
        return new_array(ndim, shape, type_number, like)
    before = PyDataMem_SetHandler(RESULT_MEMORY)
    try:
        return new_array(ndim, shape, type_number, like)
    finally:
        PyDataMem_SetHandler(before)


def empty(tuple shape, dtype, like=None):
    """As `numpy.empty`, with the memory layout of `like` if it has the same shape."""
    cdef cnp.npy_intp lengths[64]
    cdef int ndim = <int>len(shape), axis
    for axis in range(ndim):
        lengths[axis] = shape[axis]
    return new_result(
        ndim, lengths, number(FL_F32 if dtype == np.float32 else FL_F64),
        like if like is not None and (<object>like).shape == shape else None)
