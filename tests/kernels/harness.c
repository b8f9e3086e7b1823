/* The kernels without Python: for sanitisers, fuzzers and processors that have no interpreter here.
 *
 *   harness values    results of the pointwise losses against exact ones (table.h)
 *   harness random N  N random passes: in arrays of exactly their size, in other layouts, in a
 * team; all with the same results, bit for bit; and exact sums
 *
 * Built with -DFUZZ it is a target of libFuzzer, which chooses the bytes of such a pass. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groupsums.h"
#include "pipeline.h"
#include "team.h"

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                            \
    }                                                                     \
  } while (0)

/* ---- bytes that decide about a pass ---- */

typedef struct {
  const uint8_t *data;
  size_t size, at;
} bytes;

static unsigned next(bytes *b) {
  if (b->size == 0) return 0;
  return b->data[b->at++ % b->size];
}

static unsigned below(bytes *b, unsigned n) { return (next(b) | next(b) << 8) % n; }

static void *fresh(size_t size) {
  void *memory = malloc(size ? size : 1);
  CHECK(memory);
  return memory;
}

/* The same, beginning with a line of the cache where the system can. */
static void *fresh_lines(size_t size) {
#if defined(_WIN32)
  return fresh(size);
#else
  void *memory = NULL;
  CHECK(posix_memalign(&memory, FL_LINE, size ? size : 1) == 0);
  return memory;
#endif
}

static void fill(bytes *b, void *to, size_t size) {
  for (size_t i = 0; i < size; i++) ((char *)to)[i] = (char)next(b);
}

/* ---- a pass, its chunks shared among a team ---- */

enum { TEAM = 3, MOST_CHUNKS = 4096, LONG_JOB = 1000000 /* ns */ };

typedef struct {
  const fl_plan *plan;
  ptrdiff_t chunk, at_once;
  int team;
  fl_stretch stretches[TEAM];
  void *scratch[TEAM];
  long taken[TEAM]; /* chunks */
  fl_part parts[MOST_CHUNKS];
} shared_work;

/* Chunks that were taken by other threads than the caller. */
static long taken_by_helpers = 0;

static void member_chunks(int member, void *context) {
  shared_work *work = context;
  const fl_plan *plan = work->plan;
  ptrdiff_t i = fl_take(work->stretches, work->team, member);
  for (; i >= 0; i = fl_take(work->stretches, work->team, member)) {
    const ptrdiff_t start = i * work->at_once * work->chunk;
    const ptrdiff_t end = start + work->at_once * work->chunk;
    fl_run(plan, start, end < plan->size ? end : plan->size, work->chunk, work->scratch[member],
           &work->parts[i * work->at_once]);
    work->taken[member]++;
  }
}

typedef struct {
  double loss, weight;
  int64_t flags;
} totals;

static totals run(const fl_plan *plan, int team) {
  shared_work *work = calloc(1, sizeof *work);
  CHECK(work);
  work->plan = plan;
  work->chunk = fl_chunk(plan);
  work->team = team;
  const ptrdiff_t count = (plan->size + work->chunk - 1) / work->chunk;
  CHECK(count <= MOST_CHUNKS);
  for (int i = 0; i < team; i++) CHECK(work->scratch[i] = fl_scratch_take(plan, i));
  work->at_once = fl_chunks_at_once(plan, work->chunk, count, team);
  fl_share_out(work->stretches, team, 0, (count + work->at_once - 1) / work->at_once);
  fl_team_run(team, member_chunks, work, LONG_JOB);
  fl_sum loss = {0, 0}, weight = {0, 0};
  totals result = {0, 0, 0};
  for (ptrdiff_t i = 0; i < count; i++) {
    fl_sum_add(&loss, fl_sum_result(work->parts[i].sums[0]));
    fl_sum_add(&weight, fl_sum_result(work->parts[i].sums[1]));
    result.flags |= work->parts[i].flags;
  }
  for (int i = 0; i < team; i++) fl_scratch_give(work->scratch[i], i);
  for (int i = 1; i < team; i++) taken_by_helpers += work->taken[i];
  free(work);
  result.loss = fl_sum_result(loss);
  result.weight = fl_sum_result(weight);
  return result;
}

/* Any NaN is the same as any other. */
static int same(double a, double b) { return a == b || (a != a && b != b); }

static double element(const void *x, ptrdiff_t i, fl_dtype dtype) {
  return dtype == FL_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

/* Stops if rows of results that lie next to each other and the same in another layout differ. */
static void compare(const fl_plan *plan, int which, const void *dense, const void *other,
                    ptrdiff_t row, const ptrdiff_t *steps) {
  for (ptrdiff_t j = 0; j < plan->size * row; j++) {
    const double a = element(dense, j, plan->dtype);
    const double b = element(other, j / row * steps[0] + j % row * steps[1], plan->dtype);
    if (same(a, b)) continue;
    fprintf(stderr,
            "%s %s dtype %d mode %d target %d: result %d of element %td of %td x %td: %a, %a\n",
            plan->table->isa, plan->rowwise ? plan->rowwise->name : plan->pointwise->name,
            plan->dtype, plan->mode, plan->target, which, j, plan->size, row, a, b);
    abort();
  }
}

/* ---- one pass that the bytes describe ---- */

static const size_t WIDTH[FL_SOURCES] = {1, 1, 1, 2, 2, 4, 4,
                                         8, 8, 2, 2, 4, 8, sizeof(long double)};

/* Rows of `inner` elements, stored in their order or back to front, far apart or not; or planes. */
static void *operand(bytes *b, const fl_plan *plan, fl_operand *x, ptrdiff_t outer, ptrdiff_t inner,
                     int plain, fl_source *source, ptrdiff_t *inner_stride) {
  *source =
      plain ? (plan->dtype == FL_F32 ? FL_FLOAT : FL_DOUBLE) : (fl_source)below(b, FL_SOURCES);
  if (*source == FL_LONG_DOUBLE) *source = FL_DOUBLE; /* not every pattern of bits is one */
  const int swapped = plain ? 0 : (int)below(b, 2);
  const ptrdiff_t width = (ptrdiff_t)WIDTH[*source], gap = plain ? 1 : 1 + (ptrdiff_t)below(b, 3);
  const ptrdiff_t count = outer * inner;
  const size_t size = count ? (size_t)(((count - 1) * gap + 1) * width) : 0;
  char *memory = fresh(size);
  fill(b, memory, size);
  const int backward = !plain && below(b, 2);
  x->data = memory + (backward && count ? (count - 1) * gap * width : 0);
  x->load = plan->table->load[plan->dtype][*source][swapped];
  x->native = plain;
  x->direct = plain && inner == 1;
  *inner_stride = (backward ? -1 : 1) * gap * width;
  x->strides[0] = *inner_stride * inner;
  if (plain && inner > 1 && below(b, 2)) {
    x->strides[0] = width;
    *inner_stride = outer * width;
  }
  if (inner == 1) *inner_stride = 0;
  return memory;
}

static int outputs(fl_mode mode) {
  return mode <= FL_WSUM ? 0 : mode == FL_LOSS_GRAD || mode == FL_GRAD_HESS ? 2 : 1;
}

static void run_pass(bytes b, const fl_table *table) {
  fl_plan *plan = calloc(1, sizeof *plan);
  CHECK(plan);
  plan->table = table;
  plan->dtype = (fl_dtype)below(&b, FL_DTYPES);
  plan->mode = (fl_mode)below(&b, FL_MODES);
  const int rowwise = (int)below(&b, 2), plain = (int)below(&b, 2);
  const size_t item = plan->dtype == FL_F32 ? 4 : 8;
  plan->weighted = (int)below(&b, 2);
  if (plan->mode == FL_WSUM) plan->weighted = 1;
  if (rowwise && plan->mode == FL_WSUM) plan->mode = FL_SUM;
  if (!rowwise && plan->mode == FL_SUM && plan->weighted) plan->mode = FL_WSUM;
  plan->scale = below(&b, 2) ? 1 : 0.125;
  plan->w_scale = below(&b, 4) ? 1 : 0.5;
  for (int i = 0; i < FL_MAX_PARAMS; i++) plan->params[i] = 0.25 * (1 + (int)below(&b, 4));
  plan->ndim = 1;
  plan->classes = rowwise ? 1 + (ptrdiff_t)below(&b, below(&b, 4) ? 40 : 2500) : 1;
  plan->size = plan->shape[0] = 1 + (ptrdiff_t)below(&b, rowwise ? 300 : 9000);
  if (rowwise && below(&b, 2)) /* whole lines */
    plan->size = plan->shape[0] = (plan->size + FL_LANES - 1) / FL_LANES * FL_LANES;
  const ptrdiff_t classes = plan->classes;
  fl_source source;
  void *memory[3] = {NULL, NULL, NULL};
  memory[0] = operand(&b, plan, &plan->z, plan->size, classes, plain, &source, &plan->z_class);
  plan->target = FL_DENSE;
  if (rowwise) {
    plan->rowwise =
        &plan->table->rowwise[plan->dtype][below(&b, (unsigned)plan->table->rowwise_count)];
    const fl_target target = (fl_target)below(&b, FL_TARGETS);
    const int has_own = target == FL_SPARSE && plan->rowwise->own[FL_SUM];
    if (has_own || plan->rowwise->accumulate[FL_ACROSS][target]) plan->target = target;
  }
  memory[1] = operand(&b, plan, &plan->y, plan->size, plan->target == FL_DENSE ? classes : 1,
                      plain && plan->target == FL_DENSE, &source, &plan->y_class);
  plan->label = fl_label_loader(source, (int)below(&b, 2));
  if (plan->weighted) {
    ptrdiff_t none;
    memory[2] = operand(&b, plan, &plan->w, plan->size, 1, plain, &source, &none);
  }
  void *class_weight = NULL;
  if (rowwise) {
    plan->ignores = plan->target != FL_DENSE && below(&b, 2);
    plan->ignored = (int64_t)below(&b, 4) - 1;
    const int plain_targets = (int)below(&b, 2);
    plan->smoothing = plain_targets || below(&b, 2) ? 0 : 0.125;
    plan->eps = plain_targets || below(&b, 2) ? 0 : 1e-3;
    if (!plain_targets && below(&b, 2)) {
      class_weight = fresh((size_t)classes * item);
      for (ptrdiff_t k = 0; k < classes; k++) {
        if (plan->dtype == FL_F32)
          ((float *)class_weight)[k] = (float)(k % 3);
        else
          ((double *)class_weight)[k] = (double)(k % 3);
      }
      plan->class_weight = class_weight;
    }
  } else {
    plan->pointwise =
        &plan->table->pointwise[plan->dtype][below(&b, (unsigned)plan->table->pointwise_count)];
  }

  /* Two passes: one thread into contiguous arrays; a team into planes, or with gaps. */
  const int planes = classes > 1 && plan->z_class == plan->size * plan->z.strides[0];
  totals total[2];
  char *out[2][2] = {{NULL, NULL}, {NULL, NULL}};
  ptrdiff_t lengths[2] = {0, 0}, steps[2][2] = {{0, 0}, {0, 0}};
  for (int turn = 0; turn < 2; turn++) {
    for (int i = 0; i < outputs(plan->mode); i++) {
      const int losses = plan->mode == FL_LOSS || (plan->mode == FL_LOSS_GRAD && i == 0);
      const ptrdiff_t row = losses ? 1 : classes, turned = turn && planes && !losses;
      steps[i][0] = turned ? 1 : turn ? row + 1 : row;
      steps[i][1] = turned ? plan->size : 1;
      lengths[i] = plan->size * row;
      const ptrdiff_t reach = (plan->size - 1) * steps[i][0] + (row - 1) * steps[i][1] + 1;
      out[turn][i] = below(&b, 2) ? fresh((size_t)reach * item) : fresh_lines((size_t)reach * item);
      plan->out[i].data = out[turn][i];
      plan->out[i].native = 1;
      plan->out[i].direct = steps[i][0] == 1 && !turned;
      plan->out[i].strides[0] = steps[i][0] * (ptrdiff_t)item;
      plan->out_class[i] = losses ? 0 : steps[i][1] * (ptrdiff_t)item;
    }
    for (int i = 0; i < outputs(plan->mode); i++)
      plan->out[i].streamed = fl_may_stream(plan, i) && below(&b, 2);
    total[turn] = run(plan, turn ? TEAM : 1);
  }
  /* Two outputs begin with a block that ends with a line; where some labels are none, what a block
   * takes for labels depends on where it begins. */
  const int labels = total[0].flags & (FL_SAW_ZERO | FL_SAW_MINUS);
  const int mixed = outputs(plan->mode) == 2 && labels && (total[0].flags & FL_BAD_TRUE);
  for (int i = 0; i < outputs(plan->mode) && !mixed; i++)
    compare(plan, i, out[0][i], out[1][i], lengths[i] / plan->size, steps[i]);
  CHECK(same(total[0].loss, total[1].loss) && same(total[0].weight, total[1].weight));
  CHECK(total[0].flags == total[1].flags);
  for (int i = 0; i < 2; i++) free(out[0][i]), free(out[1][i]);
  for (int i = 0; i < 3; i++) free(memory[i]);
  free(class_weight);
  free(plan);
}

/* ---- exact sums: of blocks of numbers, of any bits or of one or two magnitudes, and of one by
 * one ---- */

static void *numbers(bytes *b, fl_dtype dtype, ptrdiff_t n) {
  const size_t size = (size_t)n * (dtype == FL_F32 ? sizeof(float) : sizeof(double));
  enum { ANY, FEW_BITS, TWO_MAGNITUDES };
  const unsigned kind = below(b, 3), gap = below(b, 160);
  const int exponent = (int)below(b, 256) - 128;
  void *x = fresh(size);
  fill(b, x, size);
  for (ptrdiff_t i = 0; kind != ANY && i < n; i++) {
    int old;
    const double any = frexp(element(x, i, dtype), &old), bits = isfinite(any) ? any : 1;
    const int byte = (int)next(b);
    const double v = kind == FEW_BITS ? ldexp(byte - 128, exponent)
                                      : ldexp(bits, exponent - (byte % 2 ? (int)gap : 0));
    if (dtype == FL_F32)
      ((float *)x)[i] = (float)v;
    else
      ((double *)x)[i] = v;
  }
  return x;
}

static void add_up(bytes b, const fl_table *table) {
  const fl_dtype dtype = (fl_dtype)below(&b, FL_DTYPES);
  const ptrdiff_t n = (ptrdiff_t)below(&b, FL_BLOCK + 1);
  void *x = numbers(&b, dtype, n), *wide = fresh((size_t)n * sizeof(double));
  fl_exact block = {0}, single = {0}, both = {0};
  fl_exact_add_block(&block, table, dtype, n, x, wide);
  for (ptrdiff_t i = 0; i < n; i++) fl_exact_add(&single, element(x, i, dtype));
  CHECK(memcmp(&block, &single, sizeof block) == 0);
  for (ptrdiff_t i = 0; i < 2 * n; i++) fl_exact_add(&both, element(x, i % n, dtype));
  fl_exact_merge(&block, &single);
  CHECK(memcmp(&block, &both, sizeof block) == 0);
  free(x);
  free(wide);
}

/* The same for columns of numbers in groups of rows, of several blocks. */
static void add_up_groups(bytes b, const fl_table *table) {
  enum { MOST_COLUMNS = 9, MANY_GROUPS = 5000 };
  const fl_dtype dtype = (fl_dtype)below(&b, FL_DTYPES);
  const ptrdiff_t columns = below(&b, MOST_COLUMNS + 1), blocks = 1 + below(&b, 4);
  const ptrdiff_t groups = below(&b, 16) ? 1 + below(&b, 30) : MANY_GROUPS;
  const ptrdiff_t cells = columns * groups;
  fl_exact *together = fresh(sizeof *together * (size_t)cells);
  fl_exact *single = fresh(sizeof *single * (size_t)cells);
  int64_t *counts = fresh(sizeof *counts * (size_t)groups);
  int64_t *wanted = fresh(sizeof *wanted * (size_t)groups);
  memset(together, 0, sizeof *together * (size_t)cells);
  memset(single, 0, sizeof *single * (size_t)cells);
  memset(counts, 0, sizeof *counts * (size_t)groups);
  memset(wanted, 0, sizeof *wanted * (size_t)groups);
  fl_group_sums *sums = fl_group_sums_new(table, dtype, (int)columns, groups);
  CHECK(sums);
  for (ptrdiff_t k = 0; k < blocks; k++) {
    const ptrdiff_t n = 1 + (ptrdiff_t)below(&b, FL_BLOCK);
    int32_t *group = fresh((size_t)n * sizeof *group);
    void *x[MOST_COLUMNS];
    for (ptrdiff_t i = 0; i < n; i++) {
      group[i] = (int32_t)below(&b, (unsigned)groups);
      wanted[group[i]]++;
    }
    fl_group_sums_begin(sums, n, group);
    for (ptrdiff_t j = 0; j < columns; j++) {
      x[j] = numbers(&b, dtype, n);
      for (ptrdiff_t i = 0; i < n; i++)
        fl_exact_add(&single[group[i] * columns + j], element(x[j], i, dtype));
      fl_group_sums_add(sums, x[j], &together[j], columns);
    }
    fl_group_sums_end(sums, counts, 1);
    for (ptrdiff_t j = 0; j < columns; j++) free(x[j]);
    free(group);
  }
  fl_group_sums_finish(sums);
  fl_group_sums_free(sums);
  CHECK(memcmp(together, single, sizeof *together * (size_t)cells) == 0);
  CHECK(memcmp(counts, wanted, sizeof *counts * (size_t)groups) == 0);
  free(together);
  free(single);
  free(counts);
  free(wanted);
}

static void run_bytes(const uint8_t *data, size_t size) {
  bytes b = {data, size, 0};
  const fl_table *tables[FL_MAX_TABLES];
  fl_compiled(tables);
  const fl_table *table = tables[below(&b, (unsigned)fl_runnable())];
  const unsigned kind = below(&b, 16);
  if (kind == 0)
    add_up(b, table);
  else if (kind == 1)
    add_up_groups(b, table);
  else
    run_pass(b, table);
}

#ifdef FUZZ
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  run_bytes(data, size);
  return 0;
}
#else

static void run_random(long count) {
  uint64_t state = 88172645463325252u;
  for (long i = 0; i < count; i++) {
    uint8_t data[509]; /* a prime, so that the elements of rows differ */
    for (size_t j = 0; j < sizeof data; j++) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      data[j] = (uint8_t)state;
    }
    run_bytes(data, sizeof data);
  }
  printf("%ld random passes, %ld chunks by helpers of the team\n", count, taken_by_helpers);
  CHECK(count < 1000 || taken_by_helpers > 0);
}

/* ---- values ---- */

typedef struct {
  const char *kernel;
  int dtype, max_ulp;
  double y, z, params[FL_MAX_PARAMS];
  struct {
    double value, scale;
  } exact[3];
} expected;

static const expected TABLE[] = {
#include "table.h"
};

/* Error in units in the last place of the scale; half a unit is the table's own. */
static double error(double got, double value, double scale, int dtype) {
  const double largest = dtype ? 0x1.fffffffffffffp1023 : 0x1.fffffep127;
  if (isnan(value) || isnan(got)) return isnan(value) && isnan(got) ? 0 : INFINITY;
  if (fabs(value) > largest) return fabs(got) >= largest && (got > 0) == (value > 0) ? 0 : INFINITY;
  if (isinf(got)) return fabs(value) > largest / 2 && (got > 0) == (value > 0) ? 0 : INFINITY;
  int exponent;
  frexp(fabs(scale) < largest ? scale : largest, &exponent);
  const int least = dtype ? -1021 : -125, digits = dtype ? 53 : 24;
  if (scale == 0 || exponent < least) exponent = least;
  return fabs(got - value) / ldexp(1, exponent - digits);
}

static void check_values(void) {
  const fl_table *tables[FL_MAX_TABLES];
  fl_compiled(tables);
  long checked = 0, wrong = 0;
  for (int t = 0; t < fl_runnable(); t++) {
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++) {
      const expected *row = &TABLE[i];
      const fl_pointwise *kernel = tables[t]->pointwise[row->dtype];
      int k = 0;
      while (k < tables[t]->pointwise_count && strcmp(kernel[k].name, row->kernel) != 0) k++;
      CHECK(k < tables[t]->pointwise_count);
      enum { N = 19 };
      float y32[N], z32[N], w32[N], out32[2][N];
      double y64[N], z64[N], w64[N], out64[2][N];
      for (int j = 0; j < N; j++) {
        y64[j] = row->y, z64[j] = row->z, w64[j] = 1;
        y32[j] = (float)row->y, z32[j] = (float)row->z, w32[j] = 1;
      }
      const int wide = row->dtype == FL_F64;
      void *outs[2] = {wide ? (void *)out64[0] : out32[0], wide ? (void *)out64[1] : out32[1]};
      for (int what = 0; what < 3; what++) {
        kernel[k].run[what == 2 ? FL_GRAD_HESS : FL_LOSS_GRAD](
            N, &(fl_ahead){0}, 0, wide ? (void *)y64 : y32, wide ? (void *)z64 : z32,
            wide ? (void *)w64 : w32, 1, row->params, 1, outs[0], outs[1], 0, NULL);
        for (int j = 0; j < N; j++) {
          const double got = wide ? out64[what > 0][j] : (double)out32[what > 0][j];
          const double e = error(got, row->exact[what].value, row->exact[what].scale, row->dtype);
          checked++;
          if (e <= row->max_ulp + 1) continue;
          if (wrong++ < 20)
            fprintf(stderr, "%s %s f%d y=%a z=%a result %d: got %a, not %a (%g ULP)\n",
                    tables[t]->isa, row->kernel, wide ? 64 : 32, row->y, row->z, what, got,
                    row->exact[what].value, e);
        }
      }
    }
  }
  printf("%ld values, %ld wrong\n", checked, wrong);
  if (wrong) exit(1);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "values") == 0)
    check_values();
  else if (argc == 3 && strcmp(argv[1], "random") == 0)
    run_random(atol(argv[2]));
  else
    return fprintf(stderr, "usage: harness values | random N\n"), 2;
  return 0;
}
#endif
