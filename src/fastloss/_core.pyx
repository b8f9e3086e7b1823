# distutils: language = c
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, embedsignature=False, binding=False, freethreading_compatible=True
"""Arrays in, kernels run, results out: knows no loss by name, and no rule of the public interface.

`ShortPath` answers common calls, ndarrays that need no interpretation, with as little between call
and kernel as possible. `pointwise`, `rowwise` and `reduced` take anything that `_api` has checked:
they describe it to the C pipeline, share its chunks among threads, and add up the chunks' sums in
their order.

Nothing here is guarded by the interpreter's lock: a pass has its own plan, scratch space and parts,
and the settings that all passes read are single integers.
"""

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport INFINITY, fabs, isfinite, isinf, ldexp, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t)
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset, strcpy

from math import prod
from typing import NamedTuple

import numpy as np

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
    ctypedef struct fl_pointwise:
        const char *name
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
        int native, direct, streamed
        ptrdiff_t strides[64]
    ctypedef struct fl_plan:
        const fl_table *table
        fl_dtype dtype
        fl_mode mode
        int weighted
        double cost
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
    void fl_set_streams(fl_plan *plan, int threads)
    int fl_needs_scratch(const fl_plan *plan)
    void *fl_scratch_take(const fl_plan *plan, int member)
    void fl_scratch_give(void *scratch, int member)
    ptrdiff_t fl_chunks_at_once(
        const fl_plan *plan, ptrdiff_t chunk, ptrdiff_t count, int team)
    ctypedef struct fl_part:
        fl_sum sums[2]
        int64_t flags
    void fl_run(
        const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, ptrdiff_t chunk, void *scratch,
        fl_part *parts)
    void fl_run_weights(
        const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch, fl_sum *sum)
    ptrdiff_t fl_reduced_width(ptrdiff_t kept)
    int64_t fl_run_reduced(
        const fl_plan *plan, ptrdiff_t width, ptrdiff_t start, ptrdiff_t stop, void *scratch,
        double *sums)
    void fl_reduced_totals(
        ptrdiff_t kept, ptrdiff_t width, const double *sums, double *totals)

cdef extern from "team.h" nogil:
    int FL_MEMBER_WORK
    ctypedef struct fl_stretch:
        pass
    ctypedef void fl_work_fn(int member, void *context) noexcept
    void fl_share_out(fl_stretch *stretches, int members, ptrdiff_t first, ptrdiff_t stop)
    ptrdiff_t fl_take(fl_stretch *stretches, int members, int member)
    void fl_team_run(int size, fl_work_fn *work, void *context, double nanoseconds)
    void fl_team_after_fork()
    int fl_team_offered()
    int fl_team_allowed()
    double fl_seconds()

cdef extern from "flags.h" nogil:
    ctypedef struct fl_flags:
        pass
    void fl_flags_save(fl_flags *flags)
    void fl_flags_restore(const fl_flags *flags)

cdef extern from *:
    """
    #ifdef _OPENMP
    #define FL_OPENMP _OPENMP
    #else
    #define FL_OPENMP 0
    #endif
    #if defined(__clang__)
    #define FL_COMPILER "clang " __clang_version__
    #else
    #define FL_COMPILER "gcc " __VERSION__
    #endif
    """
    int FL_OPENMP
    const char *FL_COMPILER


cdef enum:
    # Elements below which giving up the interpreter's lock is not worth its price.
    NOGIL_ELEMENTS = 1024
    # Elements after which a pass first looks whether it is to be interrupted.
    SLICE_ELEMENTS = 1048576

# Seconds between two looks for signals: each takes the interpreter's lock, for which it may wait.
cdef double LOOK_SECONDS = 0.02


# ---- instruction sets and threads ----

cdef const fl_table *tables[3]
cdef int table_count = fl_compiled(tables)
cdef int runnable = fl_runnable()
cdef const fl_table *table = tables[runnable - 1]

cdef int default_threads = 1
cdef int processors = 1
# What OpenMP would have used at the start; if it is less later on, that is a limit, as
# threadpoolctl sets it.
cdef int allowed_at_start = fl_team_allowed()


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


def threads_offered():
    """Number of threads that the system offers; 1 if this module was built without any."""
    return fl_team_offered()


def set_processors(int n):
    """Number of processors that this process may use: no team is larger."""
    global processors
    processors = n


def set_default_threads(int n):
    """Number of threads of calls that do not say."""
    global default_threads
    default_threads = n


def get_default_threads():
    """Number of threads of calls that do not say, as it was set."""
    return default_threads


cpdef int current_threads() noexcept:
    """Number of threads of calls that do not say, no more than the present limit of OpenMP."""
    cdef int allowed = fl_team_allowed()
    return min(default_threads, allowed) if allowed < allowed_at_start else default_threads


def after_fork_in_child():
    """Run serially from now on."""
    fl_team_after_fork()


def kernels():
    """Names of the compiled kernels: pointwise, row-wise."""
    return (
        [table.pointwise[0][i].name.decode() for i in range(table.pointwise_count)],
        [table.rowwise[0][i].name.decode() for i in range(table.rowwise_count)],
    )


# ---- running a plan ----

# The result of a pass. `bad` is the first element (row) of the first chunk in which a value was
# outside its domain, and `bad_stop` the end of that chunk and those that were taken with it; both
# are -1 if there was none.
cdef struct Total:
    double loss, weight
    int64_t flags
    ptrdiff_t bad, bad_stop


cdef void run_chunks(
    const fl_plan *plan, ptrdiff_t chunk, ptrdiff_t first, ptrdiff_t last, void *scratch,
    fl_part *parts, bint weights
) noexcept nogil:
    """Run chunks first .. last, or only add up their weights."""
    cdef ptrdiff_t i
    if weights:
        for i in range(first, last + 1):
            fl_run_weights(
                plan, i * chunk, min((i + 1) * chunk, plan.size), scratch, &parts[i].sums[1])
    else:
        fl_run(
            plan, first * chunk, min((last + 1) * chunk, plan.size), chunk, scratch, &parts[first])


cdef double elements_of(const fl_plan *plan, ptrdiff_t size) noexcept nogil:
    """Elements, or rows times classes."""
    return <double>size if plan.rowwise == NULL else <double>size * max(plan.classes, 1)


cdef double nanoseconds_of(const fl_plan *plan) noexcept nogil:
    """About how long one thread takes."""
    return elements_of(plan, plan.size) * plan.cost * (1 if plan.dtype == FL_F32 else 2)


cdef int team_size(double nanoseconds, int threads, ptrdiff_t jobs) noexcept:
    """Threads to ask for, for what takes one thread so long: 1 for small work."""
    cdef double worth = min(nanoseconds / FL_MEMBER_WORK, <double>min(jobs, <ptrdiff_t>threads))
    return <int>max(1.0, min(worth, <double>processors))


# What the members of a team share.
cdef struct Work:
    const fl_plan *plan
    ptrdiff_t chunk, count, at_once
    int team
    bint weights
    fl_stretch *stretches
    void **scratch
    fl_part *parts


cdef void run_member(int member, void *context) noexcept nogil:
    """Run chunks until there are none."""
    cdef const Work *work = <const Work *>context
    cdef ptrdiff_t i = fl_take(work.stretches, work.team, member), first
    while i >= 0:
        first = i * work.at_once
        run_chunks(
            work.plan, work.chunk, first, min(first + work.at_once, work.count) - 1,
            work.scratch[member], work.parts, work.weights)
        i = fl_take(work.stretches, work.team, member)


cdef int run_slices(Work *work) except -1 nogil:
    """Run all chunks, a slice of them at a time, unless a signal's handler raises meanwhile."""
    cdef ptrdiff_t count = (work.count + work.at_once - 1) // work.at_once
    cdef double elements = elements_of(work.plan, work.chunk * work.at_once)
    cdef ptrdiff_t slice = max(<ptrdiff_t>work.team, <ptrdiff_t>(SLICE_ELEMENTS / elements))
    cdef ptrdiff_t first = 0, stop
    cdef double looked = 0, start = 0
    if slice < count:
        looked = start = fl_seconds()
    while True:
        stop = min(first + slice, count)
        fl_share_out(work.stretches, work.team, first, stop)
        fl_team_run(work.team, run_member, work, nanoseconds_of(work.plan))
        if stop == count:
            return 0
        look_for_signals(&looked)
        if fl_seconds() - start < LOOK_SECONDS / 2:
            slice *= 2
        start = fl_seconds()
        first = stop


cdef int look_for_signals(double *looked) except -1 nogil:
    """Run the handlers of signals such as Ctrl-C, if the last look at time `looked` is long ago."""
    cdef double now = fl_seconds()
    if now - looked[0] > LOOK_SECONDS or now < looked[0]:
        with gil:
            PyErr_CheckSignals()
        looked[0] = fl_seconds()
    return 0


cdef int execute(const fl_plan *plan, int threads, bint weights, Total *total) except -1:
    """Run all chunks (or only add up the weights), and combine the parts in their order."""
    cdef ptrdiff_t chunk = fl_chunk(plan)
    cdef ptrdiff_t count = (plan.size + chunk - 1) // chunk
    if count == 1:
        return execute_one(plan, weights, total)
    cdef int team = team_size(nanoseconds_of(plan), threads, count), thread
    cdef ptrdiff_t at_once = fl_chunks_at_once(plan, chunk, count, team)
    cdef Work work = Work(plan, chunk, count, at_once, team, weights, NULL, NULL, NULL)
    cdef bint ready
    work.stretches = <fl_stretch *>calloc(team, sizeof(fl_stretch))
    work.scratch = <void **>calloc(team, sizeof(void *))
    work.parts = <fl_part *>calloc(count, sizeof(fl_part))
    ready = work.stretches != NULL and work.scratch != NULL and work.parts != NULL
    try:
        if ready and fl_needs_scratch(plan):
            for thread in range(team):
                work.scratch[thread] = fl_scratch_take(plan, thread)
                ready = ready and work.scratch[thread] != NULL
        if not ready:
            raise MemoryError("scratch space of the pass")
        with nogil:
            run_slices(&work)
        combine(work.parts, count, chunk, chunk * at_once, plan.size, total)
    finally:
        if work.scratch != NULL:
            for thread in range(team):
                fl_scratch_give(work.scratch[thread], thread)
        free(work.stretches)
        free(work.scratch)
        free(work.parts)
    return 0


cdef int execute_one(const fl_plan *plan, bint weights, Total *total) except -1:
    """A pass of one chunk, without the machinery for many."""
    cdef fl_part part
    cdef void *scratch = NULL
    part.sums[0] = [0, 0]
    part.sums[1] = [0, 0]
    part.flags = 0
    if fl_needs_scratch(plan):
        scratch = fl_scratch_take(plan, 0)
        if scratch == NULL:
            raise MemoryError("scratch space of the pass")
    if elements_of(plan, plan.size) > NOGIL_ELEMENTS:
        with nogil:
            run_chunks(plan, plan.size, 0, 0, scratch, &part, weights)
    else:
        run_chunks(plan, plan.size, 0, 0, scratch, &part, weights)
    if scratch != NULL:
        fl_scratch_give(scratch, 0)
    combine(&part, 1, plan.size, plan.size, plan.size, total)
    return 0


cdef void combine(
    const fl_part *parts, ptrdiff_t count, ptrdiff_t chunk, ptrdiff_t at_once, ptrdiff_t size,
    Total *total
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
            total.bad_stop = min(total.bad + at_once, size)
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

cdef int source_of(cnp.ndarray a) except -1:
    """How the kernels read this array's dtype; -1 with TypeError if they cannot."""
    cdef int number = cnp.PyArray_TYPE(a)
    if number == cnp.NPY_FLOAT64:
        return FL_DOUBLE
    if number == cnp.NPY_FLOAT32:
        return FL_FLOAT
    if number == cnp.NPY_BOOL:
        return FL_BOOL
    if number == cnp.NPY_FLOAT16:
        return FL_HALF
    if number == cnp.NPY_LONGDOUBLE:
        return FL_DOUBLE if sizeof(long double) == 8 else FL_LONG_DOUBLE
    if cnp.PyArray_ISSIGNED(a):
        return INTEGERS[0][cnp.PyArray_ITEMSIZE(a)]
    if cnp.PyArray_ISUNSIGNED(a):
        return INTEGERS[1][cnp.PyArray_ITEMSIZE(a)]
    if (<object>a).dtype.name == "bfloat16":
        return FL_BFLOAT
    raise TypeError(f"unsupported dtype {(<object>a).dtype}")


# By signedness and size.
cdef fl_source INTEGERS[2][9]
INTEGERS[0][1], INTEGERS[0][2], INTEGERS[0][4], INTEGERS[0][8] = FL_I8, FL_I16, FL_I32, FL_I64
INTEGERS[1][1], INTEGERS[1][2], INTEGERS[1][4], INTEGERS[1][8] = FL_U8, FL_U16, FL_U32, FL_U64


def readable(cnp.ndarray a):
    """Whether the kernels can read this array's dtype."""
    try:
        source_of(a)
    except TypeError:
        return False
    return True


# Lengths of the axes of elements or rows.
cdef struct Axes:
    int ndim
    ptrdiff_t length[64]


cdef Axes axes_of(tuple shape):
    cdef Axes axes
    cdef int i
    axes.ndim = len(shape)
    for i in range(axes.ndim):
        axes.length[i] = shape[i]
    return axes


cdef void strides_along(
    cnp.ndarray a, int class_axis, const Axes *axes, ptrdiff_t *strides
) noexcept:
    """Strides of `a`, without its class axis (-1: it has none); 0 where it is broadcast."""
    cdef int own = cnp.PyArray_NDIM(a) - (class_axis >= 0)
    cdef int missing = axes.ndim - own, axis, i
    for axis in range(axes.ndim):
        i = axis - missing
        if class_axis >= 0 and i >= class_axis:
            i += 1
        strides[axis] = (
            0 if axis < missing or cnp.PyArray_DIM(a, i) == 1 else cnp.PyArray_STRIDE(a, i)
        )


cdef int set_operand(
    fl_plan *plan, fl_operand *x, cnp.ndarray a, int class_axis, const Axes *axes
) except -1:
    cdef bint native = cnp.PyArray_ISNOTSWAPPED(a)
    x.data = <const char *>cnp.PyArray_DATA(a)
    x.load = plan.table.load[<int>plan.dtype][source_of(a)][0 if native else 1]
    x.native = (
        native and cnp.PyArray_TYPE(a) == number(plan.dtype) and cnp.PyArray_ISALIGNED(a)
    )
    strides_along(a, class_axis, axes, x.strides)
    return 0


cdef void set_output(fl_output *x, cnp.ndarray a, int class_axis, const Axes *axes) noexcept:
    x.data = <char *>cnp.PyArray_DATA(a)
    x.native = cnp.PyArray_ISALIGNED(a)
    strides_along(a, class_axis, axes, x.strides)


cdef int number(fl_dtype dtype) noexcept:
    return cnp.NPY_FLOAT32 if dtype == FL_F32 else cnp.NPY_FLOAT64


cdef void coalesce(fl_plan *plan, const Axes *axes, ptrdiff_t **strides, int count) noexcept:
    """Drop axes of length 1, and merge neighbours that are one axis for every operand."""
    cdef int axis, kept = 0, i
    cdef ptrdiff_t length
    cdef bint merges
    plan.size = 1
    for axis in range(axes.ndim):
        length = axes.length[axis]
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
    """Whether the plan's elements lie next to each other in its order."""
    cdef ptrdiff_t step = 4 if plan.dtype == FL_F32 else 8
    cdef int axis
    for axis in range(plan.ndim - 1, -1, -1):
        if strides[axis] != step and plan.size > 1:
            return 0
        step *= plan.shape[axis]
    return 1


cdef int describe(
    fl_plan *plan, const Axes *axes, cnp.ndarray y, int y_class_axis, cnp.ndarray z,
    int class_axis, w, tuple out
) except -1:
    """Fill in the arrays; the plan has dtype and mode. `axes` are those of elements or rows.

    Outputs of one axis more than these have the class axis of `z`.
    """
    cdef ptrdiff_t *strides[5]
    cdef int count = 2, i, own
    cdef cnp.ndarray result
    set_operand(plan, &plan.y, y, y_class_axis, axes)
    set_operand(plan, &plan.z, z, class_axis, axes)
    strides[0] = plan.y.strides
    strides[1] = plan.z.strides
    plan.weighted = w is not None
    if plan.weighted:
        set_operand(plan, &plan.w, w, -1, axes)
        strides[count] = plan.w.strides
        count += 1
    for i in range(len(out)):
        result = out[i]
        own = class_axis if cnp.PyArray_NDIM(result) > axes.ndim else -1
        set_output(&plan.out[i], result, own, axes)
        plan.out_class[i] = 0 if own < 0 else cnp.PyArray_STRIDE(result, own)
        strides[count] = plan.out[i].strides
        count += 1
    coalesce(plan, axes, strides, count)
    plan.y.direct = plan.y.native and is_contiguous(plan, plan.y.strides)
    plan.z.direct = plan.z.native and is_contiguous(plan, plan.z.strides)
    if plan.weighted:
        plan.w.direct = plan.w.native and is_contiguous(plan, plan.w.strides)
    for i in range(len(out)):
        plan.out[i].direct = plan.out[i].native and is_contiguous(plan, plan.out[i].strides)
        plan.out[i].streamed = 0
    return 0


cdef void set_pointwise(
    fl_plan *plan, int kernel, double cost, fl_dtype dtype, fl_mode mode
) noexcept:
    plan.table = table
    plan.dtype = dtype
    plan.mode = mode
    plan.cost = cost
    plan.rowwise = NULL
    plan.pointwise = &table.pointwise[<int>dtype][kernel]


cdef int set_rowwise(
    fl_plan *plan, int kernel, double cost, fl_dtype dtype, fl_mode mode, fl_target target,
    cnp.ndarray y, cnp.ndarray z, int class_axis
) except -1:
    plan.table = table
    plan.dtype = dtype
    plan.mode = mode
    plan.cost = cost
    plan.rowwise = &table.rowwise[<int>dtype][kernel]
    plan.target = target
    plan.classes = cnp.PyArray_DIM(z, class_axis)
    plan.z_class = cnp.PyArray_STRIDE(z, class_axis)
    if target == FL_DENSE:
        plan.y_class = cnp.PyArray_STRIDE(y, class_axis)
    else:
        plan.y_class = 0
        plan.label = fl_label_loader(
            <fl_source>source_of(y), 0 if cnp.PyArray_ISNOTSWAPPED(y) else 1)
    return 0


cdef void set_parameters(fl_plan *plan, tuple params) noexcept:
    cdef int i
    for i in range(4):
        plan.params[i] = params[i] if i < len(params) else 0


cdef fl_dtype dtype_of(str name) noexcept:
    return FL_F32 if name == "float32" else FL_F64


MODES = {
    "sum": FL_SUM,
    "loss": FL_LOSS,
    "grad": FL_GRAD,
    "sum_grad": FL_SUM_GRAD,
    "loss_grad": FL_LOSS_GRAD,
    "grad_hess": FL_GRAD_HESS,
}


TARGETS = {"dense": FL_DENSE, "smoothed": FL_SMOOTHED, "sparse": FL_SPARSE}


def pointwise(
    int kernel, double cost, str dtype, str mode, tuple shape, cnp.ndarray y, cnp.ndarray z, w,
    tuple out, tuple params, double scale, double w_scale, int threads, bint weights_only=False
):
    """One pass of a pointwise loss over arrays that broadcast to `shape`, none of it empty."""
    cdef fl_plan plan
    cdef Total total
    cdef Axes axes = axes_of(shape)
    set_pointwise(&plan, kernel, cost, dtype_of(dtype), MODES[mode])
    set_parameters(&plan, params)
    plan.scale = scale
    plan.w_scale = w_scale
    describe(&plan, &axes, y, -1, z, -1, w, out)
    fl_set_streams(&plan, threads)
    if plan.mode == FL_SUM and plan.weighted:
        plan.mode = FL_WSUM
    execute(&plan, threads, weights_only, &total)
    return result_of(&total)


def rowwise(
    int kernel, double cost, str dtype, str mode, tuple shape, int axis, cnp.ndarray y,
    cnp.ndarray z, w, tuple out, str target, class_weight, double smoothing, double eps, ignored,
    double scale, double w_scale, int threads, bint weights_only=False
):
    """One pass of a row-wise loss.

    `shape` is that of the rows; `axis`, not negative, is the class axis of `z`, of dense `y` and
    of the derivatives in `out`. `class_weight` is None, or contiguous and of the computation dtype.
    """
    cdef fl_plan plan
    cdef Total total
    cdef Axes axes = axes_of(shape)
    set_rowwise(
        &plan, kernel, cost, dtype_of(dtype), MODES[mode], TARGETS[target], y, z, axis)
    set_parameters(&plan, ())
    plan.scale = scale
    plan.w_scale = w_scale
    plan.ignores = ignored is not None
    plan.ignored = ignored if plan.ignores else 0
    plan.smoothing = smoothing
    plan.eps = eps
    plan.class_weight = (
        NULL if class_weight is None else cnp.PyArray_DATA(<cnp.ndarray>class_weight)
    )
    describe(&plan, &axes, y, axis if plan.target == FL_DENSE else -1, z, axis, w, out)
    fl_set_streams(&plan, threads)
    execute(&plan, threads, weights_only, &total)
    return result_of(&total)


def reduced(
    int kernel, str dtype, str mode, tuple shape, int kept_ndim, cnp.ndarray y, cnp.ndarray z, w,
    tuple params
):
    """Derivatives of a prediction that was broadcast, summed over what it was broadcast along.

    The last `kept_ndim` axes of `shape` are those of the prediction. Returns flags and the sums
    as float64 arrays, one row for each derivative that the mode gives.
    """
    cdef fl_plan plan
    cdef Axes axes = axes_of(shape)
    cdef void *scratch = NULL
    cdef int64_t flags = 0
    cdef cnp.npy_intp dims[2]
    cdef cnp.ndarray totals
    cdef double *sums = NULL
    cdef ptrdiff_t i, width, start = 0, stop
    cdef double looked = fl_seconds()
    dims[0] = 2 if mode == "grad_hess" else 1
    dims[1] = 1
    for length in shape[len(shape) - kept_ndim:]:
        dims[1] *= length
    width = fl_reduced_width(dims[1])
    try:
        totals = cnp.PyArray_EMPTY(2, dims, cnp.NPY_FLOAT64, 0)
        sums = <double *>calloc(max(2 * dims[0] * width, 1), sizeof(double))
        if sums == NULL:
            raise MemoryError("scratch space of the pass")
        set_pointwise(&plan, kernel, 0, dtype_of(dtype), MODES[mode])
        set_parameters(&plan, params)
        plan.scale = plan.w_scale = 1
        describe(&plan, &axes, y, -1, z, -1, w, ())
        scratch = fl_scratch_take(&plan, 0)
        if scratch == NULL:
            raise MemoryError("scratch space of the pass")
        with nogil:
            while start < plan.size:
                look_for_signals(&looked)
                stop = min(start + SLICE_ELEMENTS, plan.size)
                flags |= fl_run_reduced(&plan, width, start, stop, scratch, sums)
                start = stop
        for i in range(dims[0]):
            fl_reduced_totals(
                dims[1], width, sums + 2 * i * width,
                <double *>cnp.PyArray_DATA(totals) + i * dims[1])
    finally:
        fl_scratch_give(scratch, 0)
        free(sums)
    return out_of_domain(flags), totals


# ---- the short path ----

MOST_KEPT = 1 << 12  # numbers of a value in a key


cpdef tuple key_of(dict kwargs):
    """Keywords as a key, arrays and lists as what is in them; equal numbers of different types are
    different keys.

    Raises
    ------
    TypeError
        If a value has too many numbers. A key with another value that is not hashable is not.
    """
    cdef list key = []
    for name, value in kwargs.items():
        kind = type(value)
        if kind is list or kind is tuple or kind is np.ndarray:
            if len(value) > MOST_KEPT:
                raise TypeError(f"{name}: got {len(value)} numbers; expected at most {MOST_KEPT}")
            if kind is np.ndarray and value.dtype.kind in "biuf":
                kind = value.dtype, value.shape
                value = value.tobytes()
            elif kind is list:
                value = tuple(value)
        key += (name, value, kind)
    return tuple(key)


cdef enum Call:
    VALUE
    GRAD
    VALUE_AND_GRAD
    GRAD_AND_HESS

cdef enum Reduction:
    MEAN
    SUM
    NONE
    OTHER

CALLS = ("value", "grad", "value_and_grad", "grad_and_hess")


cdef class ShortPath


# The keywords of a call; `loss` has its parameters.
@cython.final
cdef class Keywords:
    cdef ShortPath loss
    cdef object weight, out
    cdef Reduction reduction
    cdef int threads


cdef class ShortPath:
    """The four calls of a loss, answered at once where they need no interpretation.

    Whatever is not an ndarray or a number, has derivatives of a broadcast prediction, is written
    over something that is read, or has a result that is not an ordinary number, goes to the method
    `_general` of the subclass, and so does every mistake. `_kept` maps parameters as they were
    given to losses with these parameters.
    """

    cdef int kernel
    cdef double cost
    cdef bint short
    cdef bint has_hess
    cdef bint is_root
    cdef bint is_real  # whether any prediction is in the domain
    cdef bint is_rowwise
    cdef fl_target target
    cdef int axis
    cdef bint ignores
    cdef int64_t ignored
    cdef double smoothing, eps
    cdef tuple class_weight  # an array of float32 and one of float64, or nothing
    cdef double parameters[4]
    cdef readonly dict _kept

    def __cinit__(self, *args, **kwargs):
        self._kept = {}

    def _set_kernel(
        self, int kernel, double cost, bint short, bint has_hess, bint is_root, bint is_real,
        tuple parameters
    ):
        cdef int i
        self.kernel = kernel
        self.cost = cost
        self.short = short
        self.has_hess = has_hess
        self.is_root = is_root
        self.is_real = is_real
        self.is_rowwise = False
        for i in range(4):
            self.parameters[i] = parameters[i] if i < len(parameters) else 0

    def _set_rows(
        self, str target, int axis, double smoothing, double eps, ignored, tuple class_weight
    ):
        """Make this a row-wise loss; class weights are given in float32 and float64."""
        self.is_rowwise = True
        self.target = TARGETS[target]
        self.axis = axis
        self.smoothing = smoothing
        self.eps = eps
        self.ignores = ignored is not None
        self.ignored = ignored if self.ignores else 0
        self.class_weight = class_weight

    def __call__(self, y_true, y_pred, **kwargs):
        return self.answer(VALUE, y_true, y_pred, kwargs)

    # Their documentation begins with what `inspect.signature` reads.

    def grad(self, y_true, y_pred, **kwargs):
        """grad($self, /, y_true, y_pred, *, sample_weight=None, reduction='mean', \
out=None, num_threads=None, **params)\n--\n\n\
Gradient with respect to `y_pred` of what the call itself returns."""
        return self.answer(GRAD, y_true, y_pred, kwargs)

    def value_and_grad(self, y_true, y_pred, **kwargs):
        """value_and_grad($self, /, y_true, y_pred, *, sample_weight=None, reduction='mean', \
out=None, num_threads=None, **params)\n--\n\n\
Value and gradient, in one pass."""
        return self.answer(VALUE_AND_GRAD, y_true, y_pred, kwargs)

    def grad_and_hess(self, y_true, y_pred, **kwargs):
        """grad_and_hess($self, /, y_true, y_pred, *, sample_weight=None, reduction='mean', \
out=None, num_threads=None, **params)\n--\n\n\
Gradient and diagonal of the Hessian, in one pass."""
        return self.answer(GRAD_AND_HESS, y_true, y_pred, kwargs)

    def _short(self, str call, y_true, y_pred, weight, str reduction, out, int threads):
        """The result of a call without parameters, or None if it is none for the short path."""
        return self.run(
            <Call><int>CALLS.index(call), y_true, y_pred, weight, reduction_of(reduction), out,
            threads)

    cdef answer(self, Call call, y_true, y_pred, dict kwargs):
        """The result; floating-point flags are left as they were."""
        cdef fl_flags flags
        fl_flags_save(&flags)
        try:
            return self.answer_any(call, y_true, y_pred, kwargs)
        finally:
            fl_flags_restore(&flags)

    cdef answer_any(self, Call call, y_true, y_pred, dict kwargs):
        cdef Keywords keywords
        # one target for all predictions, or the other way round
        if not cnp.PyArray_CheckExact(y_true) and cnp.PyArray_IsAnyScalar(y_true):
            y_true = np.asarray(y_true)
        if not cnp.PyArray_CheckExact(y_pred) and cnp.PyArray_IsAnyScalar(y_pred):
            y_pred = np.asarray(y_pred)
        if not kwargs:
            result = self.run(call, y_true, y_pred, None, MEAN, None, current_threads())
        else:
            keywords = self.read(kwargs)
            result = None
            if keywords is not None:
                result = keywords.loss.run(
                    call, y_true, y_pred, keywords.weight, keywords.reduction, keywords.out,
                    keywords.threads)
        if result is None:
            return self._general(CALLS[<int>call], y_true, y_pred, kwargs)
        return result

    cdef Keywords read(self, dict kwargs):
        """The keywords of a call; None where they are for the general path."""
        cdef Keywords keywords = Keywords.__new__(Keywords)
        cdef dict given = None
        keywords.loss = self
        keywords.reduction = MEAN
        keywords.threads = current_threads()
        for name, value in kwargs.items():
            if name == "sample_weight":
                keywords.weight = value
            elif name == "reduction":
                keywords.reduction = reduction_of(value)
            elif name == "out":
                keywords.out = value
            elif name == "num_threads":
                if value is not None:
                    if type(value) is not int or not 1 <= value <= MOST_THREADS:
                        return None
                    keywords.threads = value
            else:
                if given is None:
                    given = {}
                given[name] = value
        if given is not None:
            keywords.loss = self.bound(given)
            if keywords.loss is None:
                return None
        return keywords

    cdef ShortPath bound(self, dict given):
        """This loss with other parameters, if it is kept; None if not."""
        try:
            return self._kept.get(key_of(given))
        except (TypeError, ValueError):  # not hashable: an array, a memoryview
            return None

    cdef run(
        self, Call call, y_true, y_pred, weight, Reduction reduction, out, int threads
    ):
        """The result, or None if this is a call for the general path."""
        cdef fl_plan plan
        cdef Total total
        cdef cnp.ndarray y, z
        cdef Axes axes
        cdef tuple results = ()
        cdef bint counted
        cdef double divisor
        if not (self.short and cnp.PyArray_CheckExact(y_true) and cnp.PyArray_CheckExact(y_pred)):
            return None
        if reduction == OTHER or (call == GRAD_AND_HESS and not self.has_hess):
            return None
        if self.is_root and reduction != MEAN:
            return None
        y = y_true
        z = y_pred
        if cnp.PyArray_SIZE(y) == 0 or cnp.PyArray_SIZE(z) == 0:
            return None
        if not self.fits(call, y, z, weight, &axes):
            return None
        if call == VALUE and reduction != NONE:
            if out is not None:
                return None
        else:
            results = self.results(call, reduction, out, &axes, y, z, weight)
            if results is None:
                return None
        self.fill(&plan, mode_of(call, reduction), &axes, y, z, weight, results)
        fl_set_streams(&plan, threads)
        counted = weight is not None or (self.is_rowwise and self.ignores)
        divisor = 1
        if reduction == MEAN:
            divisor = plan.size
            if counted and (call != VALUE or self.is_root):
                execute(&plan, threads, True, &total)
                divisor = total.weight
                if not is_moderate(divisor):
                    return None
        plan.scale = 1 / divisor
        if self.is_root:
            return root(&plan, call, threads, divisor, results)
        execute(&plan, threads, False, &total)
        if out_of_domain(total.flags):
            return None
        if call == GRAD:
            return results[0]
        if call == GRAD_AND_HESS or (call == VALUE_AND_GRAD and reduction == NONE):
            return results
        if reduction == NONE:
            return results[0]
        if reduction == MEAN:
            if counted and call == VALUE:
                divisor = total.weight
                if not is_moderate(divisor):
                    return None
            if isinf(total.loss) and (counted or plan.dtype == FL_F64):
                return None  # the sum may have overflowed where the mean does not
        if call == VALUE:
            return total.loss / divisor
        return total.loss / divisor, results[0]

    cdef bint fits(
        self, Call call, cnp.ndarray y, cnp.ndarray z, weight, Axes *axes
    ) noexcept:
        """Whether dtypes and shapes are plain; sets the axes of elements or rows."""
        cdef int ndim = cnp.PyArray_NDIM(z), classes = -1
        if not (is_common(y) and is_common(z)):
            return False
        if self.is_rowwise:
            classes = self.axis + ndim if self.axis < 0 else self.axis
            if not 0 <= classes < ndim:
                return False
            if self.ignores and not cnp.PyArray_ISSIGNED(y):
                return False
            if self.class_weight and (
                cnp.PyArray_SIZE(self.class_weight[0]) != cnp.PyArray_DIM(z, classes)
            ):
                return False
        set_axes(axes, z, classes)
        if not self.is_rowwise:
            if not broadcasts(y, axes):
                # A prediction of several targets has one derivative, a sum.
                set_axes(axes, y, -1)
                if call != VALUE or not broadcasts(z, axes):
                    return False
        elif self.target == FL_DENSE:
            if not same_shape(y, ndim, cnp.PyArray_DIMS(z)):
                return False
        elif not same_shape(y, axes.ndim, <cnp.npy_intp *>axes.length):
            return False
        return weight is None or (
            cnp.PyArray_CheckExact(weight) and is_common(<cnp.ndarray>weight)
            and broadcasts(<cnp.ndarray>weight, axes)
        )

    cdef tuple new_results(self, int count, bint losses, const Axes *axes, cnp.ndarray z):
        """Losses, derivatives, or both; derivatives of rows lie like the scores."""
        cdef int type_number = number(computation(z)), ndim = cnp.PyArray_NDIM(z)
        cdef cnp.ndarray like = z if ndim > axes.ndim else None
        cdef cnp.ndarray last, first
        if losses:
            first = new_result(axes.ndim, <const cnp.npy_intp *>axes.length, type_number, None)
            if count == 1:
                return (first,)
        last = new_result(ndim, cnp.PyArray_DIMS(z), type_number, like)
        if count == 1:
            return (last,)
        if not losses:
            first = new_result(ndim, cnp.PyArray_DIMS(z), type_number, like)
        return (first, last)

    cdef tuple results(
        self, Call call, Reduction reduction, out, const Axes *axes, cnp.ndarray y, cnp.ndarray z,
        weight
    ):
        """The arrays to fill, those given or new ones; None if those given are not plain."""
        cdef bint losses = reduction == NONE and (call == VALUE or call == VALUE_AND_GRAD)
        cdef int count = 2 if call == GRAD_AND_HESS or (losses and call == VALUE_AND_GRAD) else 1
        cdef int type_number = number(computation(z)), ndim, i
        # A value out of its domain, or one of which a sum that overflowed is formed again, must
        # not be gone by then.
        cdef bint in_place = self.is_real and (call == GRAD or call == GRAD_AND_HESS)
        cdef const cnp.npy_intp *shape
        cdef list arrays = []
        cdef cnp.ndarray array
        cdef cnp.npy_intp size
        if out is None:
            size = max(cnp.PyArray_SIZE(y), cnp.PyArray_SIZE(z))
            size *= 4 if computation(z) == FL_F32 else 8
            if not is_large(size, count):
                return self.new_results(count, losses, axes, z)
            before = PyDataMem_SetHandler(RESULT_MEMORY)
            try:
                return self.new_results(count, losses, axes, z)
            finally:
                PyDataMem_SetHandler(before)
        if count == 2 and not (type(out) is tuple and len(out) == 2):
            return None
        for i in range(count):
            if i == 0 and losses:
                ndim = axes.ndim
                shape = <const cnp.npy_intp *>axes.length
            else:
                ndim = cnp.PyArray_NDIM(z)
                shape = cnp.PyArray_DIMS(z)
            given = out if count == 1 else out[i]
            if not cnp.PyArray_CheckExact(given):
                return None
            array = given
            if not (
                cnp.PyArray_TYPE(array) == type_number and cnp.PyArray_ISCARRAY(array)
                and same_shape(array, ndim, shape)
                and apart(array, y)
                and (apart(array, z) or (in_place and is_same_memory(array, z)))
                and (weight is None or apart(array, weight))
                and (i == 0 or apart(array, arrays[0]))
            ):
                return None
            arrays.append(array)
        return tuple(arrays)

    cdef int fill(
        self, fl_plan *plan, fl_mode mode, const Axes *axes, cnp.ndarray y, cnp.ndarray z, weight,
        tuple results
    ) except -1:
        cdef fl_dtype dtype = computation(z)
        cdef int class_axis = -1
        plan.params = self.parameters
        plan.w_scale = 1
        if self.is_rowwise:
            class_axis = self.axis + cnp.PyArray_NDIM(z) if self.axis < 0 else self.axis
            set_rowwise(
                plan, self.kernel, self.cost, dtype, mode, self.target, y, z, class_axis)
            plan.smoothing = self.smoothing
            plan.eps = self.eps
            plan.ignores = self.ignores
            plan.ignored = self.ignored
            plan.class_weight = NULL
            if self.class_weight:
                plan.class_weight = cnp.PyArray_DATA(
                    <cnp.ndarray>self.class_weight[0 if dtype == FL_F32 else 1])
            return describe(
                plan, axes, y, class_axis if self.target == FL_DENSE else -1, z, class_axis,
                weight, results)
        if mode == FL_SUM and weight is not None:
            mode = FL_WSUM
        set_pointwise(plan, self.kernel, self.cost, dtype, mode)
        if is_flat(plan, axes, y, z, weight):
            return describe_flat(plan, y, z, weight, results)
        return describe(plan, axes, y, -1, z, -1, weight, results)


MOST_THREADS = 1 << 20


cdef Reduction reduction_of(reduction) noexcept:
    if type(reduction) is not str:
        return OTHER
    if reduction == "mean":
        return MEAN
    if reduction == "sum":
        return SUM
    return NONE if reduction == "none" else OTHER


cdef fl_mode mode_of(Call call, Reduction reduction) noexcept:
    if call == VALUE:
        return FL_LOSS if reduction == NONE else FL_SUM
    if call == GRAD:
        return FL_GRAD
    if call == VALUE_AND_GRAD:
        return FL_LOSS_GRAD if reduction == NONE else FL_SUM_GRAD
    return FL_GRAD_HESS


cdef bint is_common(cnp.ndarray a) noexcept:
    """Whether its dtype is one of NumPy's real ones."""
    cdef int number = cnp.PyArray_TYPE(a)
    return cnp.NPY_BOOL <= number <= cnp.NPY_LONGDOUBLE or number == cnp.NPY_FLOAT16


cdef fl_dtype computation(cnp.ndarray z) noexcept:
    cdef int number = cnp.PyArray_TYPE(z)
    return FL_F32 if number == cnp.NPY_FLOAT32 or number == cnp.NPY_FLOAT16 else FL_F64


cdef bint same_shape(cnp.ndarray a, int ndim, const cnp.npy_intp *shape) noexcept:
    cdef int axis
    if cnp.PyArray_NDIM(a) != ndim:
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(a, axis) != shape[axis]:
            return False
    return True


cdef void set_axes(Axes *axes, cnp.ndarray a, int left_out) noexcept:
    """Take the axes of an array, but for one (-1: all)."""
    cdef int axis
    axes.ndim = 0
    for axis in range(cnp.PyArray_NDIM(a)):
        if axis != left_out:
            axes.length[axes.ndim] = cnp.PyArray_DIM(a, axis)
            axes.ndim += 1


cdef bint broadcasts(cnp.ndarray a, const Axes *axes) noexcept:
    """Whether it broadcasts to these axes."""
    cdef int missing = axes.ndim - cnp.PyArray_NDIM(a), axis
    if missing < 0:
        return False
    for axis in range(missing, axes.ndim):
        if cnp.PyArray_DIM(a, axis - missing) not in (1, axes.length[axis]):
            return False
    return True


cdef bint apart(cnp.ndarray result, cnp.ndarray x) noexcept:
    """Whether a contiguous result and the memory between the ends of another array are apart."""
    cdef const char *low = <const char *>cnp.PyArray_DATA(x)
    cdef const char *high = low + cnp.PyArray_ITEMSIZE(x)
    cdef const char *start = <const char *>cnp.PyArray_DATA(result)
    cdef ptrdiff_t reach
    cdef int axis
    if cnp.PyArray_SIZE(x) == 0:
        return True
    for axis in range(cnp.PyArray_NDIM(x)):
        reach = cnp.PyArray_STRIDE(x, axis) * (cnp.PyArray_DIM(x, axis) - 1)
        if reach > 0:
            high += reach
        else:
            low += reach
    return high <= start or start + cnp.PyArray_NBYTES(result) <= low


cdef bint is_same_memory(cnp.ndarray result, cnp.ndarray x) noexcept:
    """Whether an array is the elements of a contiguous result, in the same order."""
    return (
        cnp.PyArray_DATA(result) == cnp.PyArray_DATA(x)
        and cnp.PyArray_TYPE(result) == cnp.PyArray_TYPE(x) and cnp.PyArray_ISCARRAY_RO(x)
        and same_shape(x, cnp.PyArray_NDIM(result), cnp.PyArray_DIMS(result))
    )


cdef bint is_flat(
    const fl_plan *plan, const Axes *axes, cnp.ndarray y, cnp.ndarray z, weight
) noexcept:
    """Whether all arrays are contiguous, of the computation dtype and of one shape."""
    cdef int dtype = number(plan.dtype), ndim = axes.ndim
    cdef const cnp.npy_intp *shape = <const cnp.npy_intp *>axes.length
    if cnp.PyArray_TYPE(y) != dtype or cnp.PyArray_TYPE(z) != dtype:
        return False
    if not (cnp.PyArray_ISCARRAY_RO(y) and cnp.PyArray_ISCARRAY_RO(z)):
        return False
    if not (same_shape(y, ndim, shape) and same_shape(z, ndim, shape)):
        return False
    return weight is None or (
        cnp.PyArray_TYPE(<cnp.ndarray>weight) == dtype
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>weight)
        and same_shape(<cnp.ndarray>weight, ndim, shape)
    )


cdef int describe_flat(
    fl_plan *plan, cnp.ndarray y, cnp.ndarray z, weight, tuple results
) except -1:
    """As `describe`, for arrays that are flat, and results that always are."""
    cdef int i
    plan.ndim = 1
    plan.size = plan.shape[0] = cnp.PyArray_SIZE(z)
    plan.y.data = <const char *>cnp.PyArray_DATA(y)
    plan.z.data = <const char *>cnp.PyArray_DATA(z)
    plan.y.direct = plan.z.direct = plan.w.direct = 1
    plan.weighted = weight is not None
    if plan.weighted:
        plan.w.data = <const char *>cnp.PyArray_DATA(<cnp.ndarray>weight)
    for i in range(len(results)):
        plan.out[i].data = <char *>cnp.PyArray_DATA(<cnp.ndarray>results[i])
        plan.out[i].direct = 1
        plan.out[i].streamed = 0
    return 0


cdef bint is_moderate(double weight) noexcept:
    """Whether a sum of weights needs none of the general path's care for its range."""
    return isfinite(weight) and ldexp(1, -60) <= fabs(weight) <= ldexp(1, 59)


cdef root(fl_plan *plan, Call call, int threads, double divisor, tuple results):
    """Root of the mean of squares, and its gradient; None where squares leave their range."""
    cdef Total total
    cdef double mean, value
    cdef double least = 1e-31 if plan.dtype == FL_F32 else 1.1e-292  # a normal number over epsilon
    plan.mode = FL_WSUM if plan.weighted else FL_SUM
    execute(plan, threads, False, &total)
    mean = total.loss / divisor
    if not least <= mean < INFINITY:
        return None
    value = sqrt(mean)
    if call == VALUE:
        return value
    plan.mode = FL_GRAD
    plan.scale = 1 / (2 * divisor * value)
    execute(plan, threads, False, &total)
    return results[0] if call == GRAD else (value, results[0])


include "_results.pxi"
include "_accumulate.pxi"
