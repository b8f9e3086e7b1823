# distutils: language = c
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, embedsignature=False, binding=False
"""Arrays in, kernels run, results out: knows no loss by name, and no rule of the public interface.

`ShortPath` answers the commonest call, two equal contiguous float arrays and no option, with as
little between call and kernel as possible. `pointwise`, `rowwise` and `reduced` take anything that
`_api` has checked: they describe it to the C pipeline, share its chunks among threads, and add up
the chunks' sums in their order.
"""

cimport cython
cimport numpy as cnp
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc

cnp.import_array()


cdef extern from "fastloss.h" nogil:
    int FL_MAX_PARAMS, FL_MAX_NDIM, FL_BLOCK
    ctypedef enum fl_dtype:
        FL_F32
        FL_F64
    ctypedef enum fl_mode:
        FL_SUM
        FL_WSUM
        FL_LOSS
        FL_GRAD
        FL_SUM_GRAD
        FL_LOSS_GRAD
        FL_GRAD_HESS
    ctypedef enum fl_source:
        FL_BOOL
        FL_I8
        FL_U8
        FL_I16
        FL_U16
        FL_I32
        FL_U32
        FL_I64
        FL_U64
        FL_HALF
        FL_BFLOAT
        FL_FLOAT
        FL_DOUBLE
        FL_LONG_DOUBLE
    ctypedef enum fl_target:
        FL_DENSE
        FL_SMOOTHED
        FL_SPARSE
    int FL_BAD_TRUE, FL_BAD_PRED, FL_SAW_ZERO, FL_SAW_MINUS
    ctypedef struct fl_sum:
        double value, error
    void fl_sum_add(fl_sum *s, double x)
    double fl_sum_result(fl_sum s)
    ctypedef int64_t fl_pointwise_fn(
        ptrdiff_t n, const void *y, const void *z, const void *w, ptrdiff_t w_step,
        const double *params, double scale, void *out0, void *out1, fl_sum *sums)
    ctypedef struct fl_pointwise:
        const char *name
        fl_pointwise_fn *run[7]
    ctypedef struct fl_rowwise:
        const char *name
    ctypedef void fl_load_fn(
        void *dst, ptrdiff_t dst_outer, ptrdiff_t dst_inner, const char *src,
        ptrdiff_t src_outer, ptrdiff_t src_inner, ptrdiff_t outer, ptrdiff_t inner)
    ctypedef void fl_label_fn(int64_t *dst, const char *src, ptrdiff_t stride, ptrdiff_t n)
    ctypedef struct fl_table:
        const char *isa
        const fl_pointwise *pointwise[2]
        const fl_rowwise *rowwise[2]
        int pointwise_count, rowwise_count
        fl_load_fn *load[2][14][2]
    int fl_compiled(const fl_table **tables)
    int fl_runnable()
    fl_label_fn *fl_label_loader(fl_source source, int swapped)

cdef extern from "pipeline.h" nogil:
    ctypedef struct fl_operand:
        const char *data
        fl_load_fn *load
        int native, direct
        ptrdiff_t strides[64]
    ctypedef struct fl_output:
        char *data
        int native, direct
        ptrdiff_t strides[64]
    ctypedef struct fl_plan:
        const fl_table *table
        fl_dtype dtype
        fl_mode mode
        int weighted
        double scale, w_scale
        double params[4]
        int ndim
        ptrdiff_t size
        ptrdiff_t shape[64]
        fl_operand y, z, w
        fl_output out[2]
        const fl_pointwise *pointwise
        const fl_rowwise *rowwise
        fl_target target
        ptrdiff_t classes, y_class, z_class
        ptrdiff_t out_class[2]
        fl_label_fn *label
        int ignores
        int64_t ignored
        double smoothing, eps
        const void *class_weight
    ptrdiff_t fl_chunk(const fl_plan *plan)
    void *fl_scratch_new()
    void fl_scratch_free(void *scratch)
    int64_t fl_run(
        const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch, fl_sum *sums)
    void fl_run_weights(
        const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch, fl_sum *sum)
    int64_t fl_run_reduced(
        const fl_plan *plan, ptrdiff_t kept, ptrdiff_t start, ptrdiff_t stop, void *scratch,
        fl_sum *grad, fl_sum *hess)

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define FL_OPENMP _OPENMP
    static int fl_omp_procs(void) { return omp_get_num_procs(); }
    #else
    #define FL_OPENMP 0
    static int fl_omp_procs(void) { return 1; }
    #endif
    #if defined(__clang__)
    #define FL_COMPILER "clang " __clang_version__
    #else
    #define FL_COMPILER "gcc " __VERSION__
    #endif
    """
    int FL_OPENMP
    int fl_omp_procs() nogil
    const char *FL_COMPILER


cdef enum:
    # Elements (rows times classes) below which waking a team costs more than it saves.
    TEAM_ELEMENTS = 32768
    # Elements below which giving up the interpreter's lock is not worth its price.
    NOGIL_ELEMENTS = 1024


# ---- instruction sets and threads ----

cdef const fl_table *tables[3]
cdef int table_count = fl_compiled(tables)
cdef int runnable = fl_runnable()
cdef const fl_table *table = tables[runnable - 1]

cdef int default_threads = 1
# One team at a time: a second Python thread that calls meanwhile runs serially. Read and written
# with the interpreter's lock held.
cdef bint team_busy = False
# OpenMP's own threads do not survive a fork: a child that asked for a team would wait for ever.
cdef bint forked = False


def isa_compiled():
    """Names of the instruction sets that are compiled in, lowest first."""
    return [tables[i].isa.decode() for i in range(table_count)]


def isa_available():
    """Names of those of them that run here."""
    return isa_compiled()[:runnable]


def isa():
    """Name of the instruction set in use."""
    return table.isa.decode()


def _set_isa(str name):
    """Use the kernels of this instruction set."""
    global table
    for i in range(runnable):
        if tables[i].isa.decode() == name:
            table = tables[i]
            return
    raise ValueError(f"isa: got {name!r}; expected one of {isa_available()}")


def compiler():
    """Compiler of this module."""
    return FL_COMPILER.decode()


def openmp():
    """Version (a date) of OpenMP this module was built with, 0 if it was built without."""
    return FL_OPENMP


def openmp_processors():
    """Number of processors that OpenMP would use."""
    return fl_omp_procs()


def set_default_threads(int n):
    """Number of threads of calls that do not say."""
    global default_threads
    default_threads = n


def get_default_threads():
    """Number of threads of calls that do not say."""
    return default_threads


def after_fork_in_child():
    """Run serially from now on."""
    global forked, team_busy
    forked = True
    team_busy = False


def kernels():
    """Names of the compiled kernels: pointwise, row-wise."""
    return (
        [table.pointwise[0][i].name.decode() for i in range(table.pointwise_count)],
        [table.rowwise[0][i].name.decode() for i in range(table.rowwise_count)],
    )


# ---- running a plan ----

# What one chunk adds to the result.
cdef struct Part:
    fl_sum sums[2]
    int64_t flags


# The result of a pass. `bad` is the first element (row) of the first chunk in which a value was
# outside its domain, and `bad_stop` the end of that chunk; both are -1 if there was none.
cdef struct Total:
    double loss, weight
    int64_t flags
    ptrdiff_t bad, bad_stop


cdef void run_chunk(
    const fl_plan *plan, ptrdiff_t chunk, ptrdiff_t i, void *scratch, Part *part, bint weights
) noexcept nogil:
    cdef ptrdiff_t start = i * chunk
    cdef ptrdiff_t stop = min(start + chunk, plan.size)
    if weights:
        fl_run_weights(plan, start, stop, scratch, &part.sums[1])
    else:
        part.flags = fl_run(plan, start, stop, scratch, part.sums)


cdef bint needs_scratch(const fl_plan *plan) noexcept nogil:
    if plan.rowwise != NULL or not (plan.y.direct and plan.z.direct) or plan.w_scale != 1:
        return True
    if plan.weighted and not plan.w.direct:
        return True
    if plan.mode >= FL_LOSS and not plan.out[0].direct:
        return True
    return plan.mode >= FL_LOSS_GRAD and not plan.out[1].direct


cdef int team_size(const fl_plan *plan, int threads, ptrdiff_t jobs) noexcept:
    """Threads to use: 1 for small work, in a forked child, or while another team runs."""
    cdef ptrdiff_t elements = plan.size
    if plan.rowwise != NULL:
        elements *= max(plan.classes, 1)
    if FL_OPENMP == 0 or forked or team_busy or threads <= 1 or elements < TEAM_ELEMENTS:
        return 1
    return <int>min(<ptrdiff_t>threads, jobs)


cdef int execute(const fl_plan *plan, int threads, bint weights, Total *total) except -1:
    """Run all chunks (or only add up the weights), and combine the parts in their order."""
    global team_busy
    cdef ptrdiff_t chunk = fl_chunk(plan)
    cdef ptrdiff_t count = (plan.size + chunk - 1) // chunk
    cdef int team = team_size(plan, threads, count), thread
    cdef Part *parts = <Part *>calloc(count, sizeof(Part))
    cdef void **scratch = <void **>calloc(team, sizeof(void *))
    cdef ptrdiff_t i
    cdef bint ready = parts != NULL and scratch != NULL
    if ready and needs_scratch(plan):
        for thread in range(team):
            scratch[thread] = fl_scratch_new()
            ready = ready and scratch[thread] != NULL
    if ready:
        if team > 1:
            team_busy = True
            try:
                with nogil:
                    for i in prange(count, num_threads=team, schedule="static"):
                        run_chunk(plan, chunk, i, scratch[threadid()], &parts[i], weights)
            finally:
                team_busy = False
        elif plan.size > NOGIL_ELEMENTS:
            with nogil:
                for i in range(count):
                    run_chunk(plan, chunk, i, scratch[0], &parts[i], weights)
        else:
            for i in range(count):
                run_chunk(plan, chunk, i, scratch[0], &parts[i], weights)
        combine(parts, count, chunk, plan.size, total)
    if scratch != NULL:
        for thread in range(team):
            fl_scratch_free(scratch[thread])
    free(scratch)
    free(parts)
    if not ready:
        raise MemoryError("scratch space of the pass")
    return 0


cdef void combine(
    const Part *parts, ptrdiff_t count, ptrdiff_t chunk, ptrdiff_t size, Total *total
) noexcept:
    cdef fl_sum loss = [0, 0], weight = [0, 0]
    cdef ptrdiff_t i
    total.flags = 0
    total.bad = total.bad_stop = -1
    for i in range(count):
        fl_sum_add(&loss, fl_sum_result(parts[i].sums[0]))
        fl_sum_add(&weight, fl_sum_result(parts[i].sums[1]))
        total.flags |= parts[i].flags
        if total.bad < 0 and parts[i].flags & (FL_BAD_TRUE | FL_BAD_PRED):
            total.bad = i * chunk
            total.bad_stop = min(total.bad + chunk, size)
    total.loss = fl_sum_result(loss)
    total.weight = fl_sum_result(weight)


cdef bint out_of_domain(int64_t flags) noexcept:
    """Whether an argument was out of its domain, or the labels -1 and 0 were mixed."""
    return (
        flags & (FL_BAD_TRUE | FL_BAD_PRED) != 0
        or flags & (FL_SAW_ZERO | FL_SAW_MINUS) == FL_SAW_ZERO | FL_SAW_MINUS
    )


@cython.final
cdef class Result:
    """Sums of a pass, and where its first value outside a domain lies.

    `bad` is None if there is none, else a range of elements (rows) of which the first bad one is
    a member; an empty range says that the labels -1 and 0 are mixed.
    """

    cdef readonly double loss, weight
    cdef readonly object bad


cdef Result result_of(const Total *total):
    cdef Result result = Result.__new__(Result)
    result.loss = total.loss
    result.weight = total.weight
    result.bad = None
    if out_of_domain(total.flags):
        result.bad = (max(total.bad, 0), max(total.bad_stop, 0))
    return result


# ---- describing arrays to the pipeline ----

cdef int source_of(dtype) except -1:
    cdef str code = f"{dtype.kind}{dtype.itemsize}"
    if code in SOURCES:
        return SOURCES[code]
    if dtype.name == "bfloat16":
        return FL_BFLOAT
    raise TypeError(f"unsupported dtype {dtype}")


SOURCES = {
    "b1": FL_BOOL,
    "i1": FL_I8, "i2": FL_I16, "i4": FL_I32, "i8": FL_I64,
    "u1": FL_U8, "u2": FL_U16, "u4": FL_U32, "u8": FL_U64,
    "f2": FL_HALF, "f4": FL_FLOAT, "f8": FL_DOUBLE, f"f{sizeof(long double)}": FL_LONG_DOUBLE,
}  # fmt: skip


cdef void broadcast_strides(cnp.ndarray a, tuple shape, ptrdiff_t *strides):
    """Strides of `a` along the axes of `shape`, 0 where it is broadcast."""
    cdef int ndim = len(shape), own = a.ndim, axis, i
    for axis in range(ndim):
        i = axis - (ndim - own)
        strides[axis] = 0 if i < 0 or a.shape[i] == 1 else a.strides[i]


cdef int set_operand(fl_plan *plan, fl_operand *x, cnp.ndarray a, tuple shape) except -1:
    dtype = (<object>a).dtype
    x.data = <const char *>cnp.PyArray_DATA(a)
    x.load = plan.table.load[<int>plan.dtype][source_of(dtype)][0 if dtype.isnative else 1]
    x.native = dtype.isnative and dtype.num == number(plan.dtype) and a.flags.aligned
    broadcast_strides(a, shape, x.strides)
    return 0


cdef int set_output(fl_output *x, cnp.ndarray a, tuple shape) except -1:
    x.data = <char *>cnp.PyArray_DATA(a)
    x.native = a.flags.aligned
    broadcast_strides(a, shape, x.strides)
    return 0


cdef int number(fl_dtype dtype) noexcept:
    return cnp.NPY_FLOAT32 if dtype == FL_F32 else cnp.NPY_FLOAT64


cdef void coalesce(fl_plan *plan, tuple shape, ptrdiff_t **strides, int count):
    """Drop axes of length 1, and merge neighbours that are one axis for every operand."""
    cdef int axis, kept = 0, i
    cdef ptrdiff_t length
    cdef bint merges
    plan.size = 1
    for axis in range(len(shape)):
        length = shape[axis]
        plan.size *= length
        if length == 1:
            continue
        merges = kept > 0
        for i in range(count):
            merges = merges and strides[i][kept - 1] == strides[i][axis] * length
        if merges:
            kept -= 1
            length *= plan.shape[kept]
        plan.shape[kept] = length
        for i in range(count):
            strides[i][kept] = strides[i][axis]
        kept += 1
    if kept == 0:
        plan.shape[0] = 1
        for i in range(count):
            strides[i][0] = 0
        kept = 1
    plan.ndim = kept


cdef int is_contiguous(const fl_plan *plan, const ptrdiff_t *strides) noexcept:
    cdef ptrdiff_t item = 4 if plan.dtype == FL_F32 else 8
    return plan.ndim == 1 and (strides[0] == item or plan.size == 1)


cdef int set_common(
    fl_plan *plan, str dtype, int mode, tuple shape, cnp.ndarray y, cnp.ndarray z, w, tuple out,
    tuple params, double scale, double w_scale, bint permuted=False
) except -1:
    """Fill the part of a plan that all passes share; `shape` is that of elements or rows."""
    cdef ptrdiff_t *strides[5]
    cdef int count = 2, i
    plan.table = table
    plan.dtype = FL_F32 if dtype == "float32" else FL_F64
    plan.mode = <fl_mode>mode
    plan.scale = scale
    plan.w_scale = w_scale
    for i in range(4):
        plan.params[i] = params[i] if i < len(params) else 0
    set_operand(plan, &plan.y, y, shape)
    set_operand(plan, &plan.z, z, shape)
    strides[0] = plan.y.strides
    strides[1] = plan.z.strides
    plan.weighted = w is not None
    if plan.weighted:
        set_operand(plan, &plan.w, w, shape)
        strides[count] = plan.w.strides
        count += 1
    for i in range(len(out)):
        set_output(&plan.out[i], out[i], shape)
        strides[count] = plan.out[i].strides
        count += 1
    coalesce(plan, shape, strides, count)
    plan.y.direct = plan.y.native and is_contiguous(plan, plan.y.strides)
    plan.z.direct = plan.z.native and is_contiguous(plan, plan.z.strides)
    if plan.weighted:
        plan.w.direct = plan.w.native and is_contiguous(plan, plan.w.strides)
    for i in range(len(out)):
        plan.out[i].direct = plan.out[i].native and is_contiguous(plan, plan.out[i].strides)
    return 0


MODES = {
    "sum": FL_SUM,
    "loss": FL_LOSS,
    "grad": FL_GRAD,
    "sum_grad": FL_SUM_GRAD,
    "loss_grad": FL_LOSS_GRAD,
    "grad_hess": FL_GRAD_HESS,
}


def pointwise(
    int kernel, str dtype, str mode, tuple shape, cnp.ndarray y, cnp.ndarray z, w, tuple out,
    tuple params, double scale, double w_scale, int threads, bint weights_only=False
):
    """One pass of a pointwise loss over arrays that broadcast to `shape`, none of it empty."""
    cdef fl_plan *plan = <fl_plan *>malloc(sizeof(fl_plan))
    cdef Total total
    if plan == NULL:
        raise MemoryError("plan of the pass")
    try:
        set_common(plan, dtype, MODES[mode], shape, y, z, w, out, params, scale, w_scale)
        if plan.mode == FL_SUM and plan.weighted:
            plan.mode = FL_WSUM
        plan.rowwise = NULL
        plan.pointwise = &table.pointwise[<int>plan.dtype][kernel]
        execute(plan, threads, weights_only, &total)
    finally:
        free(plan)
    return result_of(&total)


def rowwise(
    int kernel, str dtype, str mode, tuple shape, int classes, cnp.ndarray y, cnp.ndarray z, w,
    tuple out, str target, class_weight, double smoothing, double eps, ignored, double scale,
    double w_scale, int threads, bint weights_only=False
):
    """One pass of a row-wise loss.

    `shape` is that of the rows. `z`, dense `y` and the derivatives in `out` have the classes as
    their last axis; `class_weight` is None, or contiguous and of the
    computation dtype.
    """
    cdef fl_plan *plan = <fl_plan *>malloc(sizeof(fl_plan))
    cdef Total total
    cdef int i
    cdef tuple out_rows
    if plan == NULL:
        raise MemoryError("plan of the pass")
    try:
        plan.target = {"dense": FL_DENSE, "smoothed": FL_SMOOTHED, "sparse": FL_SPARSE}[target]
        out_rows = tuple([a[..., 0] if a.ndim > len(shape) else a for a in out])
        set_common(
            plan, dtype, MODES[mode], shape, y[..., 0] if plan.target == FL_DENSE else y,
            z[..., 0], w, out_rows, (), scale, w_scale,
        )
        plan.rowwise = &table.rowwise[<int>plan.dtype][kernel]
        plan.classes = classes
        plan.z_class = z.strides[z.ndim - 1]
        plan.y_class = y.strides[y.ndim - 1] if plan.target == FL_DENSE else 0
        for i in range(len(out)):
            plan.out_class[i] = (
                (<cnp.ndarray>out[i]).strides[len(shape)] if out[i].ndim > len(shape) else 0
            )
        if plan.target != FL_DENSE:
            plan.label = fl_label_loader(
                <fl_source>source_of((<object>y).dtype), 0 if (<object>y).dtype.isnative else 1)
        plan.ignores = ignored is not None
        plan.ignored = ignored if plan.ignores else 0
        plan.smoothing = smoothing
        plan.eps = eps
        plan.class_weight = (
            NULL if class_weight is None else cnp.PyArray_DATA(<cnp.ndarray>class_weight)
        )
        execute(plan, threads, weights_only, &total)
    finally:
        free(plan)
    return result_of(&total)


def reduced(
    int kernel, str dtype, str mode, tuple shape, int kept_ndim, cnp.ndarray y, cnp.ndarray z, w,
    tuple params
):
    """Derivatives of a prediction that was broadcast, summed over what it was broadcast along.

    The last `kept_ndim` axes of `shape` are those of the prediction. Returns flags and the sums
    as float64 arrays, one row for each derivative that the mode gives.
    """
    cdef fl_plan *plan = <fl_plan *>malloc(sizeof(fl_plan))
    cdef void *scratch = fl_scratch_new()
    cdef int64_t flags = 0
    cdef cnp.npy_intp dims[2]
    cdef cnp.ndarray totals
    cdef fl_sum *sums = NULL
    cdef ptrdiff_t i, count
    dims[0] = 2 if mode == "grad_hess" else 1
    dims[1] = 1
    for length in shape[len(shape) - kept_ndim:]:
        dims[1] *= length
    count = dims[0] * dims[1]
    try:
        totals = cnp.PyArray_EMPTY(2, dims, cnp.NPY_FLOAT64, 0)
        sums = <fl_sum *>calloc(max(count, 1), sizeof(fl_sum))
        if plan == NULL or scratch == NULL or sums == NULL:
            raise MemoryError("scratch space of the pass")
        set_common(plan, dtype, MODES[mode], shape, y, z, w, (), params, 1, 1)
        plan.rowwise = NULL
        plan.pointwise = &table.pointwise[<int>plan.dtype][kernel]
        with nogil:
            flags = fl_run_reduced(
                plan, dims[1], 0, plan.size, scratch, sums,
                sums + dims[1] if dims[0] > 1 else NULL)
        for i in range(count):
            (<double *>cnp.PyArray_DATA(totals))[i] = fl_sum_result(sums[i])
    finally:
        fl_scratch_free(scratch)
        free(sums)
        free(plan)
    return out_of_domain(flags), totals


# ---- the short path ----

cpdef tuple key_of(dict kwargs):
    """Keywords as a key; equal numbers of different types are different keys."""
    cdef list key = []
    for name, value in kwargs.items():
        key += (name, value, type(value))
    return tuple(key)


cdef class ShortPath:
    """The four calls of a loss, answered at once where they need no interpretation.

    Anything but two ndarrays of equal shape, both contiguous and of the same native float dtype,
    and any keyword but parameters that `_kept` knows, goes to the method `_general` of the
    subclass. `_kept` maps parameters as they were given to losses with these parameters.
    """

    cdef int kernel
    cdef bint short
    cdef bint has_hess
    cdef double parameters[4]
    cdef readonly dict _kept

    def __cinit__(self, *args, **kwargs):
        self._kept = {}

    def _set_kernel(self, int kernel, bint short, bint has_hess, tuple parameters):
        cdef int i
        self.kernel = kernel
        self.short = short
        self.has_hess = has_hess
        for i in range(4):
            self.parameters[i] = parameters[i] if i < len(parameters) else 0

    def __call__(self, y_true, y_pred, **kwargs):
        cdef ShortPath loss = self.bound(kwargs) if kwargs else self
        if loss is not None and loss.is_short(y_true, y_pred):
            result = loss.run(<cnp.ndarray>y_true, <cnp.ndarray>y_pred, FL_SUM)
            if result is not None:
                return result
        return self._general("value", y_true, y_pred, kwargs)

    def grad(self, y_true, y_pred, **kwargs):
        """Gradient with respect to `y_pred` of what the call itself returns."""
        cdef ShortPath loss = self.bound(kwargs) if kwargs else self
        if loss is not None and loss.is_short(y_true, y_pred):
            result = loss.run(<cnp.ndarray>y_true, <cnp.ndarray>y_pred, FL_GRAD)
            if result is not None:
                return result
        return self._general("grad", y_true, y_pred, kwargs)

    def value_and_grad(self, y_true, y_pred, **kwargs):
        """Value and gradient, in one pass."""
        cdef ShortPath loss = self.bound(kwargs) if kwargs else self
        if loss is not None and loss.is_short(y_true, y_pred):
            result = loss.run(<cnp.ndarray>y_true, <cnp.ndarray>y_pred, FL_SUM_GRAD)
            if result is not None:
                return result
        return self._general("value_and_grad", y_true, y_pred, kwargs)

    def grad_and_hess(self, y_true, y_pred, **kwargs):
        """Gradient and diagonal of the Hessian, in one pass."""
        cdef ShortPath loss = self.bound(kwargs) if kwargs else self
        if loss is not None and loss.has_hess and loss.is_short(y_true, y_pred):
            result = loss.run(<cnp.ndarray>y_true, <cnp.ndarray>y_pred, FL_GRAD_HESS)
            if result is not None:
                return result
        return self._general("grad_and_hess", y_true, y_pred, kwargs)

    cdef ShortPath bound(self, dict kwargs):
        """This loss with other parameters, if it is kept; None if not, or if it has options."""
        if not self._kept:
            return None
        try:
            return self._kept.get(key_of(kwargs))
        except (TypeError, ValueError):  # not hashable: an array, a memoryview
            return None

    cdef bint is_short(self, y_true, y_pred):
        cdef cnp.ndarray y, z
        cdef int number, axis
        if not (self.short and cnp.PyArray_CheckExact(y_true) and cnp.PyArray_CheckExact(y_pred)):
            return False
        y = y_true
        z = y_pred
        number = cnp.PyArray_TYPE(z)
        if (
            (number != cnp.NPY_FLOAT32 and number != cnp.NPY_FLOAT64)
            or cnp.PyArray_TYPE(y) != number
            or not cnp.PyArray_ISCARRAY_RO(y)
            or not cnp.PyArray_ISCARRAY_RO(z)
            or cnp.PyArray_NDIM(y) != cnp.PyArray_NDIM(z)
            or cnp.PyArray_SIZE(z) == 0
        ):
            return False
        for axis in range(cnp.PyArray_NDIM(z)):
            if cnp.PyArray_DIM(y, axis) != cnp.PyArray_DIM(z, axis):
                return False
        return True

    cdef run(self, cnp.ndarray y, cnp.ndarray z, fl_mode mode):
        cdef fl_plan plan
        cdef Total total
        cdef object first = None, second = None
        cdef ptrdiff_t n = cnp.PyArray_SIZE(z)
        if mode >= FL_LOSS:
            first = cnp.PyArray_EMPTY(
                cnp.PyArray_NDIM(z), cnp.PyArray_DIMS(z), cnp.PyArray_TYPE(z), 0)
            plan.out[0].data = <char *>cnp.PyArray_DATA(<cnp.ndarray>first)
        if mode >= FL_LOSS_GRAD:
            second = cnp.PyArray_EMPTY(
                cnp.PyArray_NDIM(z), cnp.PyArray_DIMS(z), cnp.PyArray_TYPE(z), 0)
            plan.out[1].data = <char *>cnp.PyArray_DATA(<cnp.ndarray>second)
        plan.table = table
        plan.dtype = FL_F32 if cnp.PyArray_TYPE(z) == cnp.NPY_FLOAT32 else FL_F64
        plan.pointwise = &table.pointwise[<int>plan.dtype][self.kernel]
        plan.rowwise = NULL
        plan.mode = mode
        plan.weighted = 0
        plan.scale = 1 / <double>n
        plan.w_scale = 1
        plan.params = self.parameters
        plan.ndim = 1
        plan.size = plan.shape[0] = n
        plan.y.data = <const char *>cnp.PyArray_DATA(y)
        plan.z.data = <const char *>cnp.PyArray_DATA(z)
        plan.y.direct = plan.z.direct = plan.out[0].direct = plan.out[1].direct = 1
        if n <= NOGIL_ELEMENTS:
            run_small(&plan, &total)
        else:
            execute(&plan, default_threads, False, &total)
        if out_of_domain(total.flags):
            self._raise_domain_error(y, z, result_of(&total))
        if plan.dtype == FL_F64 and total.loss == INFINITY:
            return None  # the sum may have overflowed where the mean does not
        if mode == FL_SUM:
            return total.loss / n
        if mode == FL_SUM_GRAD:
            return total.loss / n, first
        return first if mode == FL_GRAD else (first, second)


cdef void run_small(const fl_plan *plan, Total *total) noexcept:
    """One chunk, without the machinery for many."""
    cdef Part part
    part.sums[0] = [0, 0]
    part.sums[1] = [0, 0]
    part.flags = fl_run(plan, 0, plan.size, NULL, part.sums)
    combine(&part, 1, plan.size, plan.size, total)
