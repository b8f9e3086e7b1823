#include "groupsums.h"

#include <math.h>
#include <string.h>

#include "aligned.h"

enum {
  COPIES = 4,         /* of the sums, so that rows of one group need not wait for each other */
  MANY_GROUPS = 4096, /* have one only */
  FEWEST_BITS = 14,   /* of the number of rows after which integers go to the totals, */
  ROWS_OF_GROUP = 9,  /* and for each bit of the number of groups */
  SUM_BITS = 62,
  HEADROOM = 1, /* bits that numbers may grow by before their unit does */
  RANGE = 30,   /* bits that they may shrink by */
  OFTEN = 16,   /* if more fours of rows of a block have something left, a level pays */
  LOWEST = -1074 + FL_LEVELS * (SUM_BITS - FEWEST_BITS), /* of all units is not below doubles */
};
#define TOO_LARGE 0x1p900

/* One column. Numbers below `top` and of `low` or more have the unit 2^unit; in the beginning there
 * is none. */
typedef struct {
  fl_exact *total;
  int64_t *count;
  ptrdiff_t step;
  int unit;
  double low, top;
} column;

/* Four columns: what makes integers of them, and the sums of each level. */
typedef struct {
  column of[4];
  int levels;
  double shift[FL_LEVELS][4];
  int64_t *sums[FL_LEVELS];
} four;

struct fl_group_sums {
  const fl_table *table;
  fl_dtype dtype;
  ptrdiff_t groups, copies, rows, most_rows;
  int bits;
  /* the block */
  ptrdiff_t n;
  const int32_t *group;
  int columns;
  const void *x[4];
  double numbers[4][FL_BLOCK], zeros[FL_BLOCK], ones[FL_BLOCK];
  int64_t *memory;
  int count;
  four fours[];
};

static double power_of_two(int exponent) { return ldexp(1, exponent); }

static int bits_of(ptrdiff_t x) {
  int bits = 0;
  while (x >> bits) bits++;
  return bits;
}

static size_t length_of(const fl_group_sums *sums) {
  return (size_t)(4 * sums->copies * sums->groups);
}

static void add_level(const fl_group_sums *sums, four *x) {
  memset(x->sums[x->levels++], 0, length_of(sums) * sizeof *sums->memory);
}

fl_group_sums *fl_group_sums_new(const fl_table *table, fl_dtype dtype, int columns,
                                 ptrdiff_t groups) {
  const int count = columns / 4 + 1; /* with a column for the rows */
  fl_group_sums *sums = fl_own_new(sizeof *sums + (size_t)count * sizeof(four));
  if (!sums) return NULL;
  memset(sums, 0, sizeof *sums + (size_t)count * sizeof(four));
  sums->table = table;
  sums->dtype = dtype;
  sums->count = count;
  sums->groups = groups;
  sums->copies = groups > MANY_GROUPS ? 1 : COPIES;
  const int row_bits = bits_of(groups) + ROWS_OF_GROUP;
  sums->bits = SUM_BITS - (row_bits > FEWEST_BITS ? row_bits : FEWEST_BITS);
  sums->most_rows = (ptrdiff_t)1 << (SUM_BITS - sums->bits);
  for (int i = 0; i < FL_BLOCK; i++) {
    if (dtype == FL_F32)
      ((float *)sums->ones)[i] = 1;
    else
      sums->ones[i] = 1;
  }
  const size_t length = length_of(sums);
  sums->memory = fl_own_new((size_t)count * FL_LEVELS * length * sizeof *sums->memory);
  if (!sums->memory) {
    fl_group_sums_free(sums);
    return NULL;
  }
  for (int i = 0; i < count; i++) {
    four *x = &sums->fours[i];
    for (int level = 0; level < FL_LEVELS; level++) {
      x->sums[level] = sums->memory + (size_t)(i * FL_LEVELS + level) * length;
      for (int j = 0; j < 4; j++) x->shift[level][j] = 0x1.8p52;
    }
    add_level(sums, x);
    if (dtype == FL_F64) add_level(sums, x);
  }
  return sums;
}

void fl_group_sums_free(fl_group_sums *sums) {
  if (!sums) return;
  fl_aligned_free(sums->memory);
  fl_aligned_free(sums);
}

/* ---- from integers to totals ---- */

static void empty_column(fl_group_sums *sums, four *x, int j) {
  const column *own = &x->of[j];
  for (int level = 0; level < x->levels; level++) {
    int64_t *sum = x->sums[level] + j;
    for (ptrdiff_t g = 0; g < sums->groups; g++, sum += 4) {
      int64_t whole = 0;
      for (ptrdiff_t copy = 0; copy < sums->copies; copy++) {
        whole += sum[4 * copy * sums->groups];
        sum[4 * copy * sums->groups] = 0;
      }
      if (whole == 0) continue;
      if (own->count)
        own->count[g * own->step] += whole;
      else
        fl_exact_add_integer(&own->total[g * own->step], whole, own->unit - level * sums->bits);
    }
  }
}

void fl_group_sums_finish(fl_group_sums *sums) {
  for (int i = 0; i < sums->count; i++)
    for (int j = 0; j < 4; j++)
      if (sums->fours[i].of[j].step) empty_column(sums, &sums->fours[i], j);
  sums->rows = 0;
}

/* ---- from numbers to integers ---- */

/* Has a unit for numbers of this magnitude. */
static void set_unit(fl_group_sums *sums, four *x, int j, double peak) {
  column *own = &x->of[j];
  int exponent;
  empty_column(sums, x, j);
  (void)frexp(peak, &exponent);
  own->unit = exponent + HEADROOM - sums->bits;
  if (own->unit < LOWEST) own->unit = LOWEST;
  own->top = power_of_two(own->unit + sums->bits);
  own->low = own->unit == LOWEST ? 0 : own->top * power_of_two(-RANGE);
  for (int level = 0; level < FL_LEVELS; level++)
    x->shift[level][j] = ldexp(1.5, 52 + own->unit - level * sums->bits);
}

/* Adds what so many levels leave of row i's number to its total. */
static void add_rest(fl_group_sums *sums, const four *x, int j, int levels, ptrdiff_t i) {
  const column *own = &x->of[j];
  double rest = fl_number_at(sums->dtype, sums->x[j], i);
  for (int level = 0; level < levels; level++) {
    const double s = x->shift[level][j], shifted = rest + s;
    rest -= shifted - s;
  }
  if (rest != 0) fl_exact_add(&own->total[sums->group[i] * own->step], rest);
}

static void add_four(fl_group_sums *sums, four *x) {
  int32_t left[FL_BLOCK / 4 + 1];
  for (int j = 0; j < 4; j++) {
    if (!x->of[j].total) continue;
    const double peak = sums->table->peak[sums->dtype](sums->n, sums->x[j]);
    if (peak == 0 || (x->of[j].low <= peak && peak < x->of[j].top)) continue;
    if (peak < TOO_LARGE) {
      set_unit(sums, x, j, peak);
    } else {
      for (ptrdiff_t i = 0; i < sums->n; i++) add_rest(sums, x, j, 0, i);
      sums->x[j] = sums->zeros;
    }
  }
  const int levels = x->levels;
  const int count = sums->table->add_rows[sums->dtype][levels - 1](
      sums->n, sums->x, x->shift, sums->group, x->sums, sums->copies == 1 ? 0 : sums->groups, left);
  for (int k = 0; k < count; k++) {
    const ptrdiff_t stop = left[k] + 4 < sums->n ? left[k] + 4 : sums->n;
    for (int j = 0; j < 4; j++)
      for (ptrdiff_t i = left[k]; x->of[j].total && i < stop; i++) add_rest(sums, x, j, levels, i);
  }
  if (count > OFTEN && levels < FL_LEVELS) add_level(sums, x);
}

/* ---- blocks ---- */

void fl_group_sums_begin(fl_group_sums *sums, ptrdiff_t n, const int32_t *group) {
  if (sums->rows + n > sums->most_rows) fl_group_sums_finish(sums);
  sums->rows += n;
  sums->n = n;
  sums->group = group;
  sums->columns = 0;
}

void *fl_group_sums_column(fl_group_sums *sums) { return sums->numbers[sums->columns % 4]; }

static void add_column(fl_group_sums *sums, const void *x, column own) {
  four *to = &sums->fours[sums->columns / 4];
  const int j = sums->columns++ % 4;
  sums->x[j] = x;
  to->of[j].total = own.total;
  to->of[j].count = own.count;
  to->of[j].step = own.step;
  if (j == 3) add_four(sums, to);
}

void fl_group_sums_add(fl_group_sums *sums, const void *x, fl_exact *total, ptrdiff_t step) {
  add_column(sums, x, (column){.total = total, .step = step});
}

void fl_group_sums_end(fl_group_sums *sums, int64_t *count, ptrdiff_t step) {
  const int j = sums->columns % 4;
  if (j == 0) { /* a loop of its own is cheaper than four columns */
    for (ptrdiff_t i = 0; i < sums->n; i++) count[sums->group[i] * step]++;
    return;
  }
  add_column(sums, sums->ones, (column){.count = count, .step = step});
  if (j == 3) return;
  for (int k = j + 1; k < 4; k++) sums->x[k] = sums->zeros;
  add_four(sums, &sums->fours[sums->columns / 4]);
}
