/* The kernels' interface: what the Cython core calls, and the tables it calls through.
 *
 * A table holds every kernel compiled for one instruction set. Kernels never allocate, never call
 * the operating system and report bad input only through the flags they return. */
#ifndef FASTLOSS_H
#define FASTLOSS_H

#include <stddef.h>
#include <stdint.h>

/* Elements per block: sums are formed block by block, and operands that need conversion are
 * converted block by block, so that results do not depend on which of the two happens. */
#define FL_BLOCK 1024
/* Bytes that a processor fetches at once. */
#define FL_LINE 64
/* Bytes from rows that are written, and from rows of which a class is read, to those that are asked
 * for meanwhile: results come into the second cache as operands do. Asked for to be written, they
 * would come into the first, too, and take up to 1.6 times as long. */
#define FL_ROWS_AHEAD 12288
/* Elements of the next block that are asked for at once: no more lines than it can wait for. */
#define FL_PART 256
/* Rows, or classes, that row-wise losses take at once: whole vectors. */
#define FL_LANES 16
/* Classes of a row that are added up to one sum, before it is added as a pair. */
#define FL_FOLD 128
/* Sums that those are added to in turn, before the sums are folded. */
#define FL_SUMS (2 * FL_LANES)
/* Rows of a tile across, at most. */
#define FL_MAX_ROWS 256
/* Rows that are taken together along their classes, at most. */
#define FL_ALONG_ROWS 16
/* Blocks of FL_FOLD of their classes, at most. */
#define FL_ALONG_BLOCKS 48
/* Parts that a block of numbers is taken apart into, to be added up exactly. */
#define FL_EXACT_PARTS 3
/* Doubles of at least this times the scale of their block are, and such floats: see exactsum.h. */
#define FL_FINEST 0x1p-85
#define FL_FINEST_FLOAT 0x1p-40
/* Levels of the integers that numbers of groups are made, at most: see groupsums.h. */
#define FL_LEVELS 3
#define FL_MAX_PARAMS 4
#define FL_MAX_NDIM 64

typedef enum { FL_F32, FL_F64, FL_DTYPES } fl_dtype;

static inline double fl_number_at(fl_dtype dtype, const void *x, ptrdiff_t i) {
  return dtype == FL_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

/* What a pass over the data produces. All but FL_SUM take weights. */
typedef enum {
  FL_SUM,       /* sum of the losses */
  FL_WSUM,      /* sum of w * loss, and sum of w */
  FL_LOSS,      /* out0 = w * loss */
  FL_GRAD,      /* out0 = w * scale * gradient */
  FL_SUM_GRAD,  /* sum of w * loss, out0 = w * scale * gradient */
  FL_LOSS_GRAD, /* out0 = w * loss, out1 = w * scale * gradient */
  FL_GRAD_HESS, /* out0 = w * scale * gradient, out1 = w * scale * Hessian */
  FL_MODES
} fl_mode;

/* Flags: which argument was out of its domain, and which of the labels 0 and -1 were seen. */
enum { FL_BAD_TRUE = 1, FL_BAD_PRED = 2, FL_SAW_ZERO = 4, FL_SAW_MINUS = 8 };

/* A sum as an unevaluated pair: value + error (Knuth's TwoSum). */
typedef struct {
  double value, error;
} fl_sum;

/* Adds x. */
static inline void fl_sum_add(fl_sum *s, double x) {
  double t = s->value + x, b = t - s->value;
  s->error += (s->value - (t - b)) + (x - b);
  s->value = t;
}

/* The pair as one number; an infinite or NaN value has a meaningless error. */
static inline double fl_sum_result(fl_sum s) {
  double total = s.value + s.error;
  return total == total ? total : s.value;
}

/* Bytes from the elements of an operand to what is asked for meanwhile: its elements further on, or
 * those of which the next block of it will be converted; 0 if nothing is. */
typedef struct {
  ptrdiff_t y, z, w;
} fl_ahead;

/* y, z, out0 and out1 hold n contiguous elements of the table's dtype; out0 and out1 may be y, z
 * or w. `seen` are flags of what was before, which tell what labels to expect. w holds n weights if
 * w_step is 1, and FL_BLOCK weights used over and over if it is 0. Of the FL_MAX_PARAMS params
 * those that a loss has not are 0. Results that begin with a multiple of 16 bytes may be written
 * past the caches. sums[0] collects losses, sums[1] weights. Returns flags. */
typedef int64_t fl_pointwise_fn(ptrdiff_t n, const fl_ahead *ahead, int64_t seen, const void *y,
                                const void *z, const void *w, ptrdiff_t w_step,
                                const double *params, double scale, void *out0, void *out1,
                                int past, fl_sum *sums);

typedef struct {
  const char *name;
  fl_pointwise_fn *run[FL_MODES];
} fl_pointwise;

/* How the target t of a class in a row is given.
 *   FL_DENSE     class_weight[k] ((1 - smoothing) y + share)
 *   FL_SMOOTHED  class_weight[k] ((1 - smoothing) (label == k) + share)
 *   FL_SPARSE    class_weight[k] (label == k); of a sum of terms only the label's own is given: y
 *   FL_PLAIN     y: what kernels are told of dense targets without class weights and smoothing, of
 *                probabilities that are not clipped
 * where share is smoothing over the number of the row's classes that are not masked: a softmax
 * class is masked by a score of -inf, and takes none. */
typedef enum { FL_DENSE, FL_SMOOTHED, FL_SPARSE, FL_TARGETS, FL_PLAIN = FL_TARGETS } fl_target;
enum { FL_TARGET_KERNELS = FL_PLAIN + 1 };

/* Labels that are no class. */
enum { FL_IGNORED = -1, FL_NO_CLASS = -2 };

/* How a row-wise loss fills vectors: with a class of several rows, or with classes of one row. The
 * first way has another one for planes that do not stay in a cache from one step to the next: each
 * is read from begin to end, and no exponentials are kept. Where it is NULL, the first is taken. */
typedef enum { FL_ACROSS, FL_PLANES, FL_ALONG, FL_LAYOUTS } fl_layout;

/* An operand or result of a tile. Across, the plane of class k is at body + k * step. Along, row i
 * has its whole vectors at body + i * step and what is left of its classes, filled up to a vector,
 * at tail + i * tail_step. */
typedef struct {
  void *body, *tail;
  ptrdiff_t step, tail_step;
  ptrdiff_t ahead; /* across: bytes from an element to what is to be fetched meanwhile, */
  int in_rows;     /* which lies row by row, a vector after the other */
  int past;        /* planes: each begins with a multiple of 16 bytes, and is written past the
                      caches */
} fl_rows;

/* A tile of a row-wise loss. Arrays hold elements of the table's dtype; labels are integers of the
 * same width. Its elements are
 *   across: `classes` planes of `rows` elements, a multiple of FL_LANES; those of e lie next to
 *           each other
 *   along:  `count` rows from `row` on, of `classes` elements, a multiple of FL_LANES, of which
 *           `whole` are in the body; the others may end in padding, whose target is 0
 * A group of rows may take several tiles, one after the other, for its classes. */
typedef struct {
  ptrdiff_t rows, classes, first; /* the classes are first .. first + classes - 1 */
  ptrdiff_t row, count, whole, e_step;
  ptrdiff_t all_classes;
  double smoothing, eps, scale;
  const void *class_weight; /* of the tile's classes */
  fl_rows z, y;             /* scores or probabilities, dense targets; only read */
  fl_rows grad, hess;       /* results */
  void *e;                  /* exponentials; along, rows e_step apart, 0 if none are kept; of
                               planes, room for sums */
  void *label, *w;          /* of the rows of the group */
  int wants_grad, wants_hess;
  int weighs_classes; /* whether a class weight may be other than 1 */
  int checked;        /* whether values outside their domain were looked for */
  /* what is known of each row: set by one step, used by the next */
  void *max, *tops, *sum, *sum_lo, *gap, *gap_lo, *total, *total_lo;
  void *sharers; /* number of classes among which smoothing is shared out */
  void *own;     /* exponential of the label's class */
  void *inverse, *rate, *loss;
  int64_t flags;
} fl_tile;

typedef void fl_tile_fn(fl_tile *tile);

/* Rows of probabilities or results, `step` bytes apart: of all classes next to each other, or of
 * the label's own alone. */
typedef struct {
  char *data;
  ptrdiff_t step;
  int all_classes;
} fl_matrix;

typedef void fl_labels_fn(fl_tile *tile, const fl_matrix *p, const fl_matrix *grad,
                          const fl_matrix *hess);

/* A row-wise loss in steps. For a group of rows: begin; scan of each tile; accumulate of each
 * tile; finish; derive of each tile. Steps that a loss does not need are NULL. `again_along`
 * restores the exponentials of a tile. `padding` is the score or probability of classes that are
 * none.
 *
 * Of sums of terms, rows that follow one another may be taken as one long one, which needs no
 * planes: `terms` writes the terms of a plain row along to `e`, and `add_terms` adds up those of a
 * tile across, which are in `e`.
 *
 * Of sparse targets they need the labels' own probabilities only: `own` does all of `count` rows
 * from `row` on, whole vectors, the first of which the matrices begin with. */
typedef struct {
  const char *name;
  double padding;
  fl_tile_fn *begin, *finish;
  fl_tile_fn *scan[FL_LAYOUTS], *again_along, *terms, *add_terms;
  fl_labels_fn *own[FL_MODES];
  fl_tile_fn *accumulate[FL_LAYOUTS][FL_TARGET_KERNELS], *derive[FL_LAYOUTS][FL_TARGET_KERNELS];
} fl_rowwise;

/* Converts a two-dimensional strided array of some dtype to `dst` (strides in elements). */
typedef void fl_load_fn(void *dst, ptrdiff_t dst_outer, ptrdiff_t dst_inner, const char *src,
                        ptrdiff_t src_outer, ptrdiff_t src_inner, ptrdiff_t outer, ptrdiff_t inner);

/* Source dtypes of the loaders. */
typedef enum {
  FL_BOOL,
  FL_I8,
  FL_U8,
  FL_I16,
  FL_U16,
  FL_I32,
  FL_U32,
  FL_I64,
  FL_U64,
  FL_HALF,
  FL_BFLOAT,
  FL_FLOAT,
  FL_DOUBLE,
  FL_LONG_DOUBLE,
  FL_SOURCES
} fl_source;

typedef struct {
  const char *isa;
  const fl_pointwise *pointwise[FL_DTYPES];
  const fl_rowwise *rowwise[FL_DTYPES];
  int pointwise_count, rowwise_count;
  /* [dtype][source][byte-swapped] */
  fl_load_fn *const (*load)[FL_SOURCES][2];
  double (*total[FL_DTYPES])(ptrdiff_t n, ptrdiff_t ahead, const void *x);
  /* See exactsum.h: the steps of an exact sum of n <= FL_BLOCK elements. */
  int (*extract[FL_DTYPES])(ptrdiff_t n, const void *x, double s, double *sums);
  double (*magnitude[FL_DTYPES])(ptrdiff_t n, const void *x);
  void (*add_pairs[FL_DTYPES])(ptrdiff_t n, const void *x, double *values, double *errors);
  void (*widen[FL_DTYPES])(ptrdiff_t n, const void *x, const double *w, double *to);
  /* See groupsums.h: adds four columns of n <= FL_BLOCK rows to the sums of each level, four for
   * each group; those of every fourth row lie `copy` groups further on. `shift` is s of each level
   * and column. `left` gets the first of each four rows with something left; returns how many. */
  int (*add_rows[FL_DTYPES][FL_LEVELS])(ptrdiff_t n, const void *const *x, const double (*shift)[4],
                                        const int32_t *group, int64_t *const *sums, ptrdiff_t copy,
                                        int32_t *left);
  double (*peak[FL_DTYPES])(ptrdiff_t n, const void *x);
  /* dst[j * dst_stride + i] = src[i * src_stride + j], i < rows, j < cols; strides in elements */
  void (*transpose[FL_DTYPES])(void *dst, ptrdiff_t dst_stride, const void *src,
                               ptrdiff_t src_stride, ptrdiff_t rows, ptrdiff_t cols);
  /* dst[i * times + j] = src[i], i < n, j < times <= FL_LANES */
  void (*spread[FL_DTYPES])(void *dst, const void *src, ptrdiff_t n, ptrdiff_t times);
  /* Makes FL_IGNORED and FL_NO_CLASS of labels that are none of the classes, and lanes of all of
   * them. Returns flags. */
  int64_t (*classify[FL_DTYPES])(ptrdiff_t n, int64_t *label, int64_t classes, int ignores,
                                 int64_t ignored, void *lanes);
} fl_table;

extern const fl_table fl_table_baseline;
extern const fl_table fl_table_v3;
extern const fl_table fl_table_v4;

/* Fills in all compiled tables, from the lowest instruction set to the highest; returns how many.
 */
enum { FL_MAX_TABLES = 3 };
int fl_compiled(const fl_table **tables);

/* How many of these, from the lowest on, this processor and operating system can run. */
int fl_runnable(void);

/* Bytes from what a pointwise kernel computes to what it should ask for meanwhile, here. */
ptrdiff_t fl_bytes_ahead(void);

/* Bytes of an operand that is converted from which on it should be asked for, part by part, for
 * losses that are cheap or not. */
ptrdiff_t fl_bytes_to_ask_for(int cheap);

/* Reads class labels of any dtype as int64, negative where they cannot be a class. */
typedef void fl_label_fn(int64_t *dst, const char *src, ptrdiff_t stride, ptrdiff_t n);
fl_label_fn *fl_label_loader(fl_source source, int swapped);

#endif
