# The part of _core that folds batches of rows into exact sums; included there, since it uses the
# same kernels and the same team of threads.

cdef extern from "superaccumulator.h" nogil:
    int FL_LIMBS
    ctypedef struct fl_exact:
        uint64_t limbs[35]
        int64_t nans, infinities, minus_infinities
    void fl_exact_add(fl_exact *sum, double x)
    void fl_exact_merge(fl_exact *sum, const fl_exact *other)

cdef extern from "groupsums.h" nogil:
    ctypedef struct fl_group_sums:
        pass
    void fl_group_sums_free(fl_group_sums *sums)
    void fl_group_sums_finish(fl_group_sums *sums)

cdef extern from "fold.h" nogil:
    int FL_FEW_GROUPS, FL_BAD_GROUP
    ctypedef struct fl_folded:
        fl_plan plan
        int own_cell, own_count
    ctypedef struct fl_fold:
        const fl_table *table
        int losses, width, counters, weighted
        const fl_folded *folded
        fl_operand w
        const void *codes
        fl_source code_type
        int64_t lowest
        ptrdiff_t groups
    void *fl_fold_scratch_new(const fl_fold *fold)
    void fl_fold_scratch_free(void *scratch)
    int fl_fold_wants_sums(const fl_fold *fold, ptrdiff_t rows)
    fl_group_sums *fl_fold_sums_new(const fl_fold *fold)
    void fl_fold_run(
        const fl_fold *fold, ptrdiff_t start, ptrdiff_t stop, void *scratch, fl_group_sums *sums,
        fl_exact *cells, int64_t *counts, int64_t *flags)
    void fl_fold_merge(
        const fl_fold *fold, const fl_exact *part, const int64_t *part_counts, fl_exact *cells,
        int64_t *counts)


cdef enum:
    # Rows in one share of a thread.
    FOLD_CHUNK = 16384
    # Nanoseconds for adding four numbers of a row to the sums of its group.
    GROUPING = 1
    # Groups of a batch above which threads would spend more on their own sums than they save.
    TEAM_GROUPS = 4096


class Binding(NamedTuple):
    """How a loss is run over batches of certain dtypes: what `_core` is told of it."""

    rowwise: bool
    kernel: int
    cost: float
    dtype: str
    parameters: tuple
    target: str
    class_weight: object
    smoothing: float
    eps: float
    ignored: object


cdef fl_load_fn *loader(fl_dtype dtype, cnp.ndarray a) except NULL:
    """What converts elements of the array."""
    return table.load[<int>dtype][source_of(a)][0 if cnp.PyArray_ISNOTSWAPPED(a) else 1]


@cython.final
cdef class Fold:
    """Several losses over batches of rows of the same dtypes.

    Operands are one-dimensional, but for the class axis, which is the last, of predictions and
    dense targets of row-wise losses.
    """

    cdef fl_fold fold
    cdef fl_folded *folded
    cdef void **scratch
    cdef int scratches
    cdef object y_dtype, z_dtype, w_dtype, kept
    cdef int y_ndim, z_ndim
    cdef ptrdiff_t classes
    cdef bint busy

    def __cinit__(self, *args):
        self.folded = NULL
        self.scratch = NULL
        self.scratches = 0

    def __init__(
        self, list bindings, cnp.ndarray y, cnp.ndarray z, w, list own, int width, int counters
    ):
        """`own` has, for each loss, the cell and the count that are its own, or zeros."""
        cdef int i
        cdef fl_plan *plan
        self.y_dtype, self.z_dtype = (<object>y).dtype, (<object>z).dtype
        self.w_dtype = None if w is None else w.dtype
        self.y_ndim, self.z_ndim = y.ndim, z.ndim
        self.classes = z.shape[1] if z.ndim == 2 else 0
        self.kept = bindings  # the class weights are theirs
        self.folded = <fl_folded *>calloc(max(len(bindings), 1), sizeof(fl_folded))
        if self.folded == NULL:
            raise MemoryError("plans of the losses")
        self.fold.table = table
        self.fold.losses = len(bindings)
        self.fold.folded = self.folded
        self.fold.width, self.fold.counters = width, counters
        self.fold.weighted = w is not None
        for i in range(len(bindings)):
            plan = &self.folded[i].plan
            self.folded[i].own_cell, self.folded[i].own_count = own[i]
            self.describe(plan, bindings[i], y, z)
        if w is not None:
            self.fold.w.load = loader(FL_F64, <cnp.ndarray>w)
        self.make_scratch(1)

    def __dealloc__(self):
        cdef int t
        for t in range(self.scratches):
            fl_fold_scratch_free(self.scratch[t])
        free(self.scratch)
        free(self.folded)

    cdef int make_scratch(self, int team) except -1:
        """Have scratch space for as many threads. It is kept: its pages would be new each time."""
        cdef void *moved
        if team <= self.scratches:
            return 0
        moved = realloc(self.scratch, team * sizeof(void *))
        if moved == NULL:
            raise MemoryError("scratch space of the losses")
        self.scratch = <void **>moved
        while self.scratches < team:
            self.scratch[self.scratches] = fl_fold_scratch_new(&self.fold)
            if self.scratch[self.scratches] == NULL:
                raise MemoryError("scratch space of the losses")
            self.scratches += 1
        return 0

    cdef int describe(self, fl_plan *plan, binding, cnp.ndarray y, cnp.ndarray z) except -1:
        cdef int i
        plan.table = table
        plan.dtype = FL_F32 if binding.dtype == "float32" else FL_F64
        plan.mode = FL_LOSS
        plan.weighted = 0
        plan.cost = binding.cost
        plan.scale = plan.w_scale = 1
        plan.ndim = 1
        for i in range(4):
            plan.params[i] = binding.parameters[i] if i < len(binding.parameters) else 0
        plan.z.load = loader(plan.dtype, z)
        plan.y.load = loader(plan.dtype, y)
        if not binding.rowwise:
            plan.pointwise = &table.pointwise[<int>plan.dtype][<int>binding.kernel]
            return 0
        plan.rowwise = &table.rowwise[<int>plan.dtype][<int>binding.kernel]
        plan.target = {"dense": FL_DENSE, "smoothed": FL_SMOOTHED, "sparse": FL_SPARSE}[
            binding.target]
        plan.classes = self.classes
        if plan.target != FL_DENSE:
            plan.label = fl_label_loader(
                <fl_source>source_of(y), 0 if cnp.PyArray_ISNOTSWAPPED(y) else 1)
        plan.ignores = binding.ignored is not None
        plan.ignored = binding.ignored if plan.ignores else 0
        plan.smoothing = binding.smoothing
        plan.eps = binding.eps
        if binding.class_weight is not None:
            plan.class_weight = cnp.PyArray_DATA(<cnp.ndarray>binding.class_weight)
        return 0

    cdef bint fits(self, y_true, y_pred, w):
        """Whether the arrays are what the plans are made for."""
        cdef cnp.ndarray y, z, v
        if not (cnp.PyArray_CheckExact(y_true) and cnp.PyArray_CheckExact(y_pred)):
            return False
        y, z = y_true, y_pred
        if <object>cnp.PyArray_DESCR(y) is not self.y_dtype:
            return False
        if <object>cnp.PyArray_DESCR(z) is not self.z_dtype:
            return False
        if cnp.PyArray_NDIM(y) != self.y_ndim or cnp.PyArray_NDIM(z) != self.z_ndim:
            return False
        if cnp.PyArray_DIM(y, 0) != cnp.PyArray_DIM(z, 0):
            return False
        if self.z_ndim == 2 and cnp.PyArray_DIM(z, 1) != self.classes:
            return False
        if self.y_ndim == 2 and cnp.PyArray_DIM(y, 1) != self.classes:
            return False
        if w is None or self.w_dtype is None:
            return w is None and self.w_dtype is None
        if not cnp.PyArray_CheckExact(w):
            return False
        v = w
        return (
            <object>cnp.PyArray_DESCR(v) is self.w_dtype
            and cnp.PyArray_NDIM(v) == 1
            and cnp.PyArray_DIM(v, 0) == cnp.PyArray_DIM(z, 0)
        )

    def fits_arrays(self, y_true, y_pred, w):
        """As `fits`."""
        return self.fits(y_true, y_pred, w)

    cdef void point_to(self, cnp.ndarray y, cnp.ndarray z, w):
        cdef int i
        cdef fl_plan *plan
        for i in range(self.fold.losses):
            plan = &self.folded[i].plan
            plan.size = plan.shape[0] = cnp.PyArray_DIM(z, 0)
            set_rows(&plan.y, y, number(plan.dtype))
            set_rows(&plan.z, z, number(plan.dtype))
            plan.y_class = cnp.PyArray_STRIDE(y, 1) if self.y_ndim == 2 else 0
            plan.z_class = cnp.PyArray_STRIDE(z, 1) if self.z_ndim == 2 else 0
        if w is not None:
            set_rows(&self.fold.w, <cnp.ndarray>w, cnp.NPY_FLOAT64)

    cdef ptrdiff_t run(
        self, cnp.ndarray y, cnp.ndarray z, w, codes, int64_t lowest, ptrdiff_t groups,
        int threads, fl_exact *cells, int64_t *counts, int64_t *flags
    ) except -1:
        """Fold a batch into zeroed cells and counts of its groups."""
        cdef ptrdiff_t n = cnp.PyArray_DIM(z, 0)
        if self.busy:
            raise RuntimeError(
                "update: this accumulator is being updated by another thread; give each thread "
                "an accumulator of its own, and merge them")
        self.point_to(y, z, w)
        self.fold.codes = NULL
        if codes is not None:
            self.fold.codes = cnp.PyArray_DATA(<cnp.ndarray>codes)
            self.fold.code_type = <fl_source>source_of(<cnp.ndarray>codes)
        self.fold.lowest = lowest
        self.fold.groups = groups
        if n <= NOGIL_ELEMENTS:
            self.run_alone(n, cells, counts, flags)
            return 0
        self.busy = True
        try:
            self.run_shared(n, threads, cells, counts, flags)
        finally:
            self.busy = False
        return 0

    cdef fl_group_sums *new_sums(self) except NULL:
        cdef fl_group_sums *sums = fl_fold_sums_new(&self.fold)
        if sums == NULL:
            raise MemoryError(f"sums of {self.fold.groups} groups")
        return sums

    cdef int run_alone(
        self, ptrdiff_t n, fl_exact *cells, int64_t *counts, int64_t *flags
    ) except -1:
        cdef fl_group_sums *sums = NULL
        if fl_fold_wants_sums(&self.fold, n):
            sums = self.new_sums()
        fl_fold_run(&self.fold, 0, n, self.scratch[0], sums, cells, counts, flags)
        if sums != NULL:
            fl_group_sums_finish(sums)
            fl_group_sums_free(sums)
        return 0

    cdef int run_shared(
        self, ptrdiff_t n, int threads, fl_exact *cells, int64_t *counts, int64_t *flags
    ) except -1:
        """Share the rows among a team; exact sums do not depend on who adds what."""
        cdef ptrdiff_t jobs = (n + FOLD_CHUNK - 1) // FOLD_CHUNK, groups = self.fold.groups
        cdef ptrdiff_t width = self.fold.width, counters = self.fold.counters
        cdef ptrdiff_t losses = self.fold.losses, k, g, j
        cdef double nanoseconds = self.nanoseconds(n)
        cdef int team = 1 if groups > TEAM_GROUPS else team_size(nanoseconds, threads, jobs)
        self.make_scratch(team)
        cdef Share share = [
            &self.fold, n, team, nanoseconds, NULL, self.scratch, NULL, NULL, NULL, NULL]
        share.stretches = <fl_stretch *>calloc(team, sizeof(fl_stretch))
        share.cells = <fl_exact *>calloc(team * groups * width, sizeof(fl_exact))
        share.counts = <int64_t *>calloc(team * groups * counters, sizeof(int64_t))
        share.flags = <int64_t *>calloc(team * (losses + 1), sizeof(int64_t))
        share.sums = <fl_group_sums **>calloc(team, sizeof(fl_group_sums *))
        try:
            if (share.stretches == NULL or share.cells == NULL or share.counts == NULL
                    or share.flags == NULL or share.sums == NULL):
                raise MemoryError("sums of the threads")
            if fl_fold_wants_sums(&self.fold, n // team):
                for k in range(team):
                    share.sums[k] = self.new_sums()
            with nogil:
                run_shares(&share, jobs)
            for k in range(team):
                for g in range(groups):
                    if share.counts[(k * groups + g) * counters] == 0:
                        continue
                    for j in range(width):
                        fl_exact_merge(
                            &cells[g * width + j], &share.cells[(k * groups + g) * width + j])
                    for j in range(counters):
                        counts[g * counters + j] += share.counts[(k * groups + g) * counters + j]
                for j in range(losses + 1):
                    flags[j] |= share.flags[k * (losses + 1) + j]
        finally:
            if share.sums != NULL:
                for k in range(team):
                    fl_group_sums_free(share.sums[k])
            free(share.sums)
            free(share.stretches)
            free(share.cells)
            free(share.counts)
            free(share.flags)
        return 0

    cdef double nanoseconds(self, ptrdiff_t n) noexcept:
        """About how long one thread takes."""
        cdef double total = 0
        cdef int i
        for i in range(self.fold.losses):
            total += nanoseconds_of(&self.folded[i].plan)
        if self.fold.codes != NULL:
            total += n * GROUPING * (self.fold.width // 4 + 1)
        return total


# What the members of a team share: each has sums of its own.
cdef struct Share:
    const fl_fold *fold
    ptrdiff_t n
    int team
    double nanoseconds
    fl_stretch *stretches
    void **scratch
    fl_group_sums **sums
    fl_exact *cells
    int64_t *counts
    int64_t *flags


cdef void run_share(int member, void *context) noexcept nogil:
    cdef const Share *share = <const Share *>context
    cdef const fl_fold *fold = share.fold
    cdef ptrdiff_t i = fl_take(share.stretches, share.team, member)
    while i >= 0:
        fl_fold_run(
            fold, i * FOLD_CHUNK, min((i + 1) * FOLD_CHUNK, share.n), share.scratch[member],
            share.sums[member], share.cells + member * fold.groups * fold.width,
            share.counts + member * fold.groups * fold.counters,
            share.flags + member * (fold.losses + 1))
        i = fl_take(share.stretches, share.team, member)
    if share.sums[member] != NULL:
        fl_group_sums_finish(share.sums[member])


cdef int run_shares(Share *share, ptrdiff_t jobs) except -1 nogil:
    """Fold in all rows, a slice of them at a time, unless a signal's handler raises meanwhile."""
    cdef ptrdiff_t slice = max(share.team, SLICE_ELEMENTS // FOLD_CHUNK), first = 0, stop
    cdef double looked = fl_seconds() if slice < jobs else 0
    while True:
        stop = min(first + slice, jobs)
        fl_share_out(share.stretches, share.team, first, stop)
        fl_team_run(share.team, run_share, share, share.nanoseconds)
        if stop == jobs:
            return 0
        look_for_signals(&looked)
        first = stop


cdef void set_rows(fl_operand *x, cnp.ndarray a, int type_number):
    """Point an operand to an array whose first axis is that of the rows."""
    cdef ptrdiff_t stride = cnp.PyArray_STRIDE(a, 0), item = cnp.PyArray_ITEMSIZE(a)
    x.data = <const char *>cnp.PyArray_DATA(a)
    x.strides[0] = stride
    x.native = (
        cnp.PyArray_TYPE(a) == type_number and cnp.PyArray_ISALIGNED(a)
        and cnp.PyArray_ISNOTSWAPPED(a))
    x.direct = x.native and cnp.PyArray_NDIM(a) == 1 and stride == item


cdef limbs_of(fl_exact *sum):
    """The limbs as an array, without a copy."""
    cdef cnp.npy_intp length = FL_LIMBS
    return cnp.PyArray_SimpleNewFromData(1, &length, cnp.NPY_UINT64, sum.limbs)


cdef class Sums:
    """Exact sums and counts of groups of rows: a table with a row for each group.

    `update` folds a batch of rows into the only group, at once where the arrays are ndarrays of
    the dtypes of the last batch; anything else goes to `_update` of the subclass.

    Without the interpreter's lock, critical sections keep threads that share an instance apart;
    they end where a large batch lets other threads run, and `Fold.busy` goes on from there.
    """

    cdef fl_exact *cells
    cdef int64_t *counts
    cdef int width, counters
    cdef readonly ptrdiff_t _size
    cdef ptrdiff_t capacity
    cdef public Fold _fold
    cdef public bint _grouped
    # Which of the labels 0 and -1 were seen.
    cdef public int _labels
    cdef public object _threads

    def __cinit__(self, *args, **kwargs):
        self.cells = NULL
        self.counts = NULL
        self._size = self.capacity = 0

    def __dealloc__(self):
        free(self.cells)
        free(self.counts)

    def _set_width(self, int width, int counters):
        """Cells and counts of a group; there is none yet."""
        self.width, self.counters = width, counters

    @cython.critical_section
    def _resize(self, ptrdiff_t groups):
        """Drop the last groups, or append some, which are zeros."""
        cdef ptrdiff_t capacity = self.capacity
        cdef void *moved
        if groups > capacity:
            capacity = max(groups, 2 * capacity, 1)
            moved = realloc(self.cells, capacity * self.width * sizeof(fl_exact))
            if moved == NULL:
                raise MemoryError(f"sums of {capacity} groups")
            self.cells = <fl_exact *>moved
            moved = realloc(self.counts, capacity * self.counters * sizeof(int64_t))
            if moved == NULL:
                raise MemoryError(f"counts of {capacity} groups")
            self.counts = <int64_t *>moved
            self.capacity = capacity
        if groups > self._size:
            memset(
                &self.cells[self._size * self.width], 0,
                (groups - self._size) * self.width * sizeof(fl_exact))
            memset(
                &self.counts[self._size * self.counters], 0,
                (groups - self._size) * self.counters * sizeof(int64_t))
        self._size = groups

    @cython.critical_section
    def update(self, y_true, y_pred, sample_weight=None, by=None):
        """Fold in a batch of rows.

        Parameters
        ----------
        y_true, y_pred : array_like
            As for the losses. Pointwise losses take arrays that broadcast, row-wise losses scores
            with the classes along the axis of the loss.
        sample_weight : array_like, optional
            One weight for each row; they count as doubles whatever the dtype of `y_pred`.
        by : array_like, list or tuple of array_like, or dict, optional
            The group of each row, if the accumulator has groups: one key, or several whose
            combinations are the groups.

        Raises
        ------
        ValueError
            If a value is outside the domain of a loss, or lengths differ. Then nothing of the
            batch is folded in.
        """
        if (
            by is not None or self._grouped or self._fold is None
            or not self._fold.fits(y_true, y_pred, sample_weight)
            or cnp.PyArray_DIM(<cnp.ndarray>y_pred, 0) == 0
        ):
            self._update(y_true, y_pred, sample_weight, by)
        elif not self.fold_in(y_true, y_pred, sample_weight, None, 0, 1, None):
            self._raise_domain_error(y_true, y_pred)

    @cython.critical_section
    def _fold_in(
        self, cnp.ndarray y, cnp.ndarray z, w, codes=None, int64_t lowest=0, ptrdiff_t groups=1,
        slot_of=None
    ):
        """Fold in rows.

        Each is of the group that its integer in `codes` tells, from `lowest` on: contiguous, in
        the order of bytes of the machine, and int32 from 0 on if there are more than `FEW_GROUPS`.
        `slot_of` gives the group of this table for one of the batch, from 0 on, that has rows.

        Returns whether all values were inside their domains; if not, nothing is folded in.
        """
        return self.fold_in(y, z, w, codes, lowest, groups, slot_of)

    cdef bint fold_in(
        self, cnp.ndarray y, cnp.ndarray z, w, codes, int64_t lowest, ptrdiff_t groups, slot_of
    ) except -1:
        cdef fl_exact few_cells[16]
        cdef int64_t few_counts[16]
        cdef int64_t few_flags[16]
        cdef fl_exact *cells = few_cells
        cdef int64_t *counts = few_counts
        cdef int64_t *flags = few_flags
        cdef Fold fold = self._fold
        cdef ptrdiff_t i, slot
        cdef list slots
        cdef int losses = fold.fold.losses
        cdef int labels = self._labels
        cdef int threads = current_threads() if self._threads is None else self._threads
        cdef bint small = groups * self.width <= 16 and losses < 16, good = True
        cdef fl_flags of_arithmetic
        fl_flags_save(&of_arithmetic)
        if small:
            memset(few_cells, 0, groups * self.width * sizeof(fl_exact))
            memset(few_counts, 0, groups * self.counters * sizeof(int64_t))
            memset(few_flags, 0, (losses + 1) * sizeof(int64_t))
        else:
            cells = <fl_exact *>calloc(groups * self.width, sizeof(fl_exact))
            counts = <int64_t *>calloc(groups * self.counters, sizeof(int64_t))
            flags = <int64_t *>calloc(losses + 1, sizeof(int64_t))
        try:
            if cells == NULL or counts == NULL or flags == NULL:
                raise MemoryError(f"sums of a batch of {groups} groups")
            with cython.critical_section(fold):  # parts of a batch share it
                fold.run(y, z, w, codes, lowest, groups, threads, cells, counts, flags)
            if flags[losses] & FL_BAD_GROUP:
                raise ValueError("by: got keys that another thread changed during the update")
            for i in range(losses):
                labels |= flags[i] & (FL_SAW_ZERO | FL_SAW_MINUS)
                good = good and not flags[i] & (FL_BAD_TRUE | FL_BAD_PRED)
            good = good and labels != FL_SAW_ZERO | FL_SAW_MINUS
            if good:
                if slot_of is not None:  # which may fail, so before anything is added
                    slots = [
                        (i, slot_of(i)) for i in range(groups) if counts[i * self.counters] > 0]
                self._labels = labels
                if slot_of is None:
                    fl_fold_merge(&fold.fold, cells, counts, self.cells, self.counts)
                else:
                    for i, slot in slots:
                        fl_fold_merge(
                            &fold.fold, &cells[i * self.width], &counts[i * self.counters],
                            &self.cells[slot * self.width], &self.counts[slot * self.counters])
        finally:
            fl_flags_restore(&of_arithmetic)
            if not small:
                free(cells)
                free(counts)
                free(flags)
        return good

    def _add_group(self, ptrdiff_t slot, Sums other, ptrdiff_t other_slot):
        """Add a group of another table of the same width."""
        cdef ptrdiff_t i
        with cython.critical_section(self, other):
            for i in range(self.width):
                fl_exact_merge(
                    &self.cells[slot * self.width + i], &other.cells[other_slot * self.width + i])
            for i in range(self.counters):
                self.counts[slot * self.counters + i] += (
                    other.counts[other_slot * self.counters + i])

    @cython.critical_section
    def _sum(self, ptrdiff_t slot, int cell):
        """A sum as an integer in units of 2^-1074, and the terms that were nan, inf and -inf."""
        cdef fl_exact *sum = &self.cells[slot * self.width + cell]
        limbs = limbs_of(sum).astype("<u8").tobytes()
        return (
            int.from_bytes(limbs, "little", signed=True),
            (sum.nans, sum.infinities, sum.minus_infinities),
        )

    @cython.critical_section
    def _set_sum(self, ptrdiff_t slot, int cell, total, tuple special):
        cdef fl_exact *sum = &self.cells[slot * self.width + cell]
        cdef const uint64_t[::1] limbs = np.frombuffer(
            total.to_bytes(8 * FL_LIMBS, "little", signed=True), "<u8").astype(np.uint64)
        cdef int i
        for i in range(FL_LIMBS):
            sum.limbs[i] = limbs[i]
        sum.nans, sum.infinities, sum.minus_infinities = special

    @cython.critical_section
    def _count(self, ptrdiff_t slot, int counter):
        return self.counts[slot * self.counters + counter]

    @cython.critical_section
    def _set_count(self, ptrdiff_t slot, int counter, int64_t count):
        self.counts[slot * self.counters + counter] = count


# ---- numbering groups ----

# Up to so many, a batch may have any integers for its groups.
FEW_GROUPS = FL_FEW_GROUPS


ctypedef fused integer:
    int8_t
    uint8_t
    int16_t
    uint16_t
    int32_t
    uint32_t
    int64_t
    uint64_t


def number_values(const integer[:] x, integer lowest, ptrdiff_t span):
    """Number the distinct values of `x`, all in [lowest, lowest + span), as they come.

    Returns the number of each element as int32, and the values in the order of their numbers.
    """
    cdef cnp.npy_intp dims[1]
    cdef cnp.ndarray numbers
    cdef int32_t *to
    cdef int32_t *number_of = <int32_t *>malloc(span * sizeof(int32_t))
    cdef int32_t count = 0, new
    cdef ptrdiff_t i, offset, stop, done = 0
    cdef list values = []
    if number_of == NULL:
        raise MemoryError(f"numbers of {span} values")
    try:
        dims[0] = x.shape[0]
        numbers = cnp.PyArray_EMPTY(1, dims, cnp.NPY_INT32, 0)
        to = <int32_t *>cnp.PyArray_DATA(numbers)
        memset(number_of, 0xff, span * sizeof(int32_t))
        with nogil:
            while done < x.shape[0]:
                stop = min(done + 4096, x.shape[0])
                new = 0
                for i in range(done, stop):
                    to[i] = number_of[<ptrdiff_t>(<uint64_t>x[i] - <uint64_t>lowest)]
                    new |= to[i]
                if new < 0:  # few pieces have a value that was not seen before
                    with gil:
                        for i in range(done, stop):
                            offset = <ptrdiff_t>(<uint64_t>x[i] - <uint64_t>lowest)
                            if number_of[offset] < 0:
                                number_of[offset] = count
                                count += 1
                                values.append(x[i])
                            to[i] = number_of[offset]
                done = stop
    finally:
        free(number_of)
    return numbers, values
