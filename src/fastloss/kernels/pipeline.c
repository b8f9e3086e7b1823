#include "pipeline.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "aligned.h"

enum {
  TILE_ELEMENTS = 4096, /* of a tile across rows */
  SPAN = 1024,          /* classes of a tile along a row */
  LONG_ROW = 32,        /* more classes than this are taken along the row */
  FEW_ROWS = 8,         /* and so are classes of no more rows than this, wherever they lie */
  TAIL = 2 * FL_LANES,  /* room for what is left of a row */
  KEPT = 32768,         /* exponentials of a tile of many rows, or kept for the derivatives */
  MIN_ROWS = 32,
  CHUNKS = 1024,           /* about the largest number of chunks, */
  LARGEST_CHUNK = 1 << 22, /* unless they had more elements: a signal waits for one to end */
  MOST_BLOCKS = 16,        /* that are loaded at once */
  STREAM_BYTES = 32 << 20, /* outputs of so many are in no cache when they are read again */
  PLANES_BYTES = 16 << 20, /* scores of so many are in no cache when they are read again */
  STREAM_CLASSES = 1000,   /* fewer of them share too many lines with other rows */
  ROWS_BYTES = 4 << 20,    /* rows of so many are asked for ahead where they become planes */
  LABELS_BYTES = 8 << 20,  /* labels of so many are asked for ahead, too */
  ASKED = 32,              /* rows that are asked for at once */
  OWN_BYTES = 3 * FL_LINE, /* of a row from which a label's class is taken in place */
  NARROW = 4,              /* bytes of elements that have few lines */
  STREAM_THREADS = 4,      /* more of them wait for the memory whatever they compute */
};

/* Nanoseconds for an element, its gradient included, that are more than its memory takes. */
static const double STREAM_COST = 0.4;

static int is_cheap(const fl_plan *plan) { return plan->cost < STREAM_COST; }

static size_t item_size(const fl_plan *plan) { return plan->dtype == FL_F32 ? 4 : 8; }

typedef struct {
  int64_t wide_label[FL_MAX_ROWS], label[FL_MAX_ROWS];
  double w[FL_MAX_ROWS], max[FL_MAX_ROWS], tops[FL_MAX_ROWS], sum[FL_MAX_ROWS], sum_lo[FL_MAX_ROWS];
  double gap[FL_MAX_ROWS], gap_lo[FL_MAX_ROWS], total[FL_MAX_ROWS], total_lo[FL_MAX_ROWS];
  double sharers[FL_MAX_ROWS], own[FL_MAX_ROWS], inverse[FL_MAX_ROWS], rate[FL_MAX_ROWS],
      loss[FL_MAX_ROWS];
  double class_weight[SPAN], padding[2][FL_LANES], tail[4][FL_ALONG_ROWS][TAIL];
  double z[TILE_ELEMENTS], y[TILE_ELEMENTS], grad[TILE_ELEMENTS], hess[TILE_ELEMENTS];
  double e[]; /* TILE_ELEMENTS, or KEPT for many classes */
} rowwise_scratch;

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return a / b + (a % b != 0); }
static ptrdiff_t magnitude(ptrdiff_t x) { return x < 0 ? -x : x; }

/* Multiplies by a power of two. */
static void scale_weights(const fl_plan *plan, void *w, ptrdiff_t n) {
  if (plan->w_scale == 1) return;
  for (ptrdiff_t i = 0; i < n; i++) {
    if (plan->dtype == FL_F32)
      ((float *)w)[i] = (float)(((float *)w)[i] * plan->w_scale);
    else
      ((double *)w)[i] *= plan->w_scale;
  }
}

static const void *ones(fl_dtype dtype) {
#define FOUR 1, 1, 1, 1
#define SIXTEEN FOUR, FOUR, FOUR, FOUR
#define SIXTY_FOUR SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN
#define FOUR_TIMES(x) x, x, x, x
  static const float f32[FL_BLOCK] = {FOUR_TIMES(FOUR_TIMES(SIXTY_FOUR))};
  static const double f64[FL_BLOCK] = {FOUR_TIMES(FOUR_TIMES(SIXTY_FOUR))};
  return dtype == FL_F32 ? (const void *)f32 : (const void *)f64;
}

static int outputs(fl_mode mode) {
  switch (mode) {
    case FL_SUM:
    case FL_WSUM:
      return 0;
    case FL_LOSS_GRAD:
    case FL_GRAD_HESS:
      return 2;
    default:
      return 1;
  }
}

/* ---- scratch space ---- */

/* Whether an operand or result of so many strides is read along an axis before its last. */
static int is_transposed(const fl_plan *plan, const ptrdiff_t *strides) {
  const int last = plan->ndim - 1;
  return last > 0 && strides[last - 1] && magnitude(strides[last - 1]) < magnitude(strides[last]);
}

/* Blocks of a pointwise loss that are loaded, and stored, at once. Of a transposed operand a line
 * holds elements of many rows: as many rows as two lines have, or one block. */
static ptrdiff_t blocks_at_once(const fl_plan *plan) {
  int transposed = is_transposed(plan, plan->y.strides) || is_transposed(plan, plan->z.strides) ||
                   (plan->weighted && is_transposed(plan, plan->w.strides));
  for (int i = 0; i < outputs(plan->mode); i++)
    transposed = transposed || is_transposed(plan, plan->out[i].strides);
  if (!transposed) return 1;
  const ptrdiff_t rows = 2 * FL_LINE / (ptrdiff_t)item_size(plan);
  const ptrdiff_t most = MOST_BLOCKS * FL_BLOCK, row = plan->shape[plan->ndim - 1];
  return row < most / 4 ? smaller(MOST_BLOCKS, ceil_div(rows * row, FL_BLOCK)) : 1;
}

/* Room for the blocks of each operand and result of a pointwise loss; an operand that repeats has
 * one more. */
typedef struct {
  double *y, *z, *w, *out[2];
} pointwise_scratch;

static pointwise_scratch pointwise_parts(double *scratch, ptrdiff_t blocks) {
  const ptrdiff_t result = blocks * FL_BLOCK, operand = result + FL_BLOCK;
  double *const out = scratch + 3 * operand;
  return (pointwise_scratch){scratch, scratch + operand, scratch + 2 * operand,
                             .out = {out, out + result}};
}

static size_t scratch_size(const fl_plan *plan) {
  if (!plan->rowwise) return sizeof(double) * FL_BLOCK * (size_t)(5 * blocks_at_once(plan) + 3);
  const int few = plan->classes <= LONG_ROW;
  return sizeof(rowwise_scratch) + (few ? TILE_ELEMENTS : KEPT) * item_size(plan);
}

/* The line before scratch space. */
typedef struct {
  size_t size;
} scratch_head;

static scratch_head *head_of(void *scratch) { return (scratch_head *)((char *)scratch - FL_LINE); }

void *fl_scratch_new(const fl_plan *plan) {
  const size_t size = scratch_size(plan);
  scratch_head *head = fl_own_new(FL_LINE + size);
  if (!head) return NULL;
  head->size = size;
  return (char *)head + FL_LINE;
}

void fl_scratch_free(void *scratch) {
  if (scratch) fl_aligned_free(head_of(scratch));
}

/* What members gave back. */
static void *shelf[64];

static int has_place(int member) { return member < (int)(sizeof shelf / sizeof *shelf); }

void *fl_scratch_take(const fl_plan *plan, int member) {
  void *own = NULL;
  if (has_place(member)) own = __atomic_exchange_n(&shelf[member], NULL, __ATOMIC_ACQUIRE);
  if (own && head_of(own)->size >= scratch_size(plan)) return own;
  fl_scratch_free(own);
  return fl_scratch_new(plan);
}

void fl_scratch_give(void *scratch, int member) {
  if (!scratch) return;
  if (has_place(member)) scratch = __atomic_exchange_n(&shelf[member], scratch, __ATOMIC_ACQ_REL);
  fl_scratch_free(scratch);
}

/* ---- walking through the plan's axes ---- */

/* A position among the elements (rows), and how many more lie on the last axis. */
typedef struct {
  ptrdiff_t index[FL_MAX_NDIM];
} position;

static void seek(const fl_plan *plan, ptrdiff_t flat, position *at) {
  for (int axis = plan->ndim - 1; axis >= 0; axis--) {
    at->index[axis] = flat % plan->shape[axis];
    flat /= plan->shape[axis];
  }
}

static ptrdiff_t offset(const fl_plan *plan, const ptrdiff_t *strides, const position *at) {
  ptrdiff_t bytes = 0;
  for (int axis = 0; axis < plan->ndim; axis++) bytes += at->index[axis] * strides[axis];
  return bytes;
}

/* The longest stretch of at most n elements from here that is a rectangle of the last two axes:
 * `outer` rows of `inner` elements. */
static void stretch(const fl_plan *plan, const position *at, ptrdiff_t n, ptrdiff_t *outer,
                    ptrdiff_t *inner) {
  const int last = plan->ndim - 1;
  const ptrdiff_t rest = plan->shape[last] - at->index[last];
  *outer = 1;
  *inner = smaller(rest, n);
  if (last > 0 && at->index[last] == 0 && n >= plan->shape[last])
    *outer = smaller(n / plan->shape[last], plan->shape[last - 1] - at->index[last - 1]);
}

static void advance(const fl_plan *plan, position *at, ptrdiff_t outer, ptrdiff_t inner) {
  int axis = plan->ndim - 1;
  at->index[axis] += inner;
  if (at->index[axis] < plan->shape[axis]) return;
  at->index[axis] = 0;
  if (axis == 0) return;
  at->index[--axis] += outer;
  while (axis > 0 && at->index[axis] == plan->shape[axis]) {
    at->index[axis] = 0;
    at->index[--axis]++;
  }
}

static void advance_by(const fl_plan *plan, position *at, ptrdiff_t n) {
  const int last = plan->ndim - 1;
  while (n > 0) {
    const ptrdiff_t run = smaller(n, plan->shape[last] - at->index[last]);
    advance(plan, at, 1, run);
    n -= run;
  }
}

static ptrdiff_t outer_stride(const fl_plan *plan, const ptrdiff_t *strides) {
  return plan->ndim > 1 ? strides[plan->ndim - 2] : 0;
}

/* Whether the last axis has n more elements (rows) from here on. */
static int has_more(const fl_plan *plan, const position *at, ptrdiff_t n) {
  const int last = plan->ndim - 1;
  return n <= plan->shape[last] - at->index[last];
}

/* Asks for n elements, `stride` bytes apart, that lie `ahead` of these. Wide ones come into the
 * second cache: what is asked for the first waits where it waits for a dozen or two of lines
 * already. */
static void fetch(const char *x, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t ahead) {
  const ptrdiff_t step = stride ? larger(1, FL_LINE / magnitude(stride)) : n;
  const uintptr_t from = (uintptr_t)x + (uintptr_t)(ahead * stride);
  if (magnitude(stride) < NARROW)
    for (ptrdiff_t i = 0; i < n; i += step)
      __builtin_prefetch((const void *)(from + (uintptr_t)(i * stride)), 0, 3);
  else
    for (ptrdiff_t i = 0; i < n; i += step)
      __builtin_prefetch((const void *)(from + (uintptr_t)(i * stride)), 0, 2);
}

/* Copies n rows of so many bytes, the first and the last `width` of each, which may overlap. */
#define COPY_ENDS(width)                                                  \
  if (bytes <= 2 * (width)) {                                             \
    for (ptrdiff_t i = 0; i < n; i++, dst += dst_step, src += src_step) { \
      memcpy(dst, src, width);                                            \
      memcpy(dst + bytes - (width), src + bytes - (width), width);        \
    }                                                                     \
    return;                                                               \
  }

static void copy_rows(char *dst, ptrdiff_t dst_step, const char *src, ptrdiff_t src_step,
                      ptrdiff_t n, ptrdiff_t bytes) {
  COPY_ENDS(4)
  COPY_ENDS(8)
  COPY_ENDS(16)
  COPY_ENDS(32)
  for (ptrdiff_t i = 0; i < n; i++, dst += dst_step, src += src_step)
    memcpy(dst, src, (size_t)bytes);
}
#undef COPY_ENDS

/* Converts n elements, and repeats each of them a few times. */
static void load_spread(const fl_plan *plan, const fl_operand *from, char *dst, const char *src,
                        ptrdiff_t step, ptrdiff_t n, ptrdiff_t times) {
  double converted[FL_BLOCK];
  for (ptrdiff_t done = 0, part; done < n; done += part) {
    part = smaller(n - done, FL_BLOCK);
    from->load(converted, 0, 1, src + done * step, 0, step, 1, part);
    plan->table->spread[plan->dtype](dst + (size_t)(done * times) * item_size(plan), converted,
                                     part, times);
  }
}

/* Converts `outer` rows of `inner` elements, and reads them along the axis of shorter strides. */
static void load_rectangle(const fl_plan *plan, const fl_operand *from, void *dst, const char *src,
                           ptrdiff_t outer_step, ptrdiff_t inner_step, ptrdiff_t outer,
                           ptrdiff_t inner) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  const int short_rows = outer > 1 && inner * size <= FL_LINE;
  if (short_rows && !inner_step)
    load_spread(plan, from, dst, src, outer_step, outer, inner);
  else if (short_rows && inner_step == size && from->native)
    copy_rows(dst, inner * size, src, outer_step, outer, inner * size);
  else if (outer == 1 || !outer_step || magnitude(outer_step) >= magnitude(inner_step))
    from->load(dst, inner, 1, src, outer_step, inner_step, outer, inner);
  else if (from->native && outer_step == size && inner_step % size == 0)
    plan->table->transpose[plan->dtype](dst, inner, src, inner_step / size, inner, outer);
  else
    from->load(dst, 1, inner, src, inner_step, outer_step, inner, outer);
}

/* Converts elements start .. start + n - 1, and asks for those `ahead` of them that are on the same
 * stretch of the last axis. */
static void load(const fl_plan *plan, const fl_operand *from, ptrdiff_t start, ptrdiff_t n,
                 ptrdiff_t ahead, void *to) {
  const int last = plan->ndim - 1;
  const ptrdiff_t stride = from->strides[last];
  char *dst = to;
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    ptrdiff_t outer, inner;
    stretch(plan, &at, n, &outer, &inner);
    const char *src = from->data + offset(plan, from->strides, &at);
    if (outer == 1 && ahead && has_more(plan, &at, inner + ahead)) {
      inner = smaller(inner, FL_PART);
      fetch(src, stride, inner, ahead);
    }
    load_rectangle(plan, from, dst, src, outer_stride(plan, from->strides), stride, outer, inner);
    dst += (size_t)(outer * inner) * item_size(plan);
    n -= outer * inner;
    advance(plan, &at, outer, inner);
  }
}

/* Copies a strided rectangle of elements of 4 or 8 bytes; strides in bytes. */
static void copy(char *dst, ptrdiff_t dst_outer, ptrdiff_t dst_inner, const char *src,
                 ptrdiff_t src_outer, ptrdiff_t src_inner, ptrdiff_t outer, ptrdiff_t inner,
                 size_t size) {
  for (ptrdiff_t i = 0; i < outer; i++, dst += dst_outer, src += src_outer) {
    if (size == 4)
      for (ptrdiff_t j = 0; j < inner; j++) memcpy(dst + j * dst_inner, src + j * src_inner, 4);
    else
      for (ptrdiff_t j = 0; j < inner; j++) memcpy(dst + j * dst_inner, src + j * src_inner, 8);
  }
}

/* The way back. */
static void store_rectangle(const fl_plan *plan, const fl_output *to, char *dst, const char *src,
                            ptrdiff_t outer_step, ptrdiff_t inner_step, ptrdiff_t outer,
                            ptrdiff_t inner) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  if (inner_step == size)
    copy_rows(dst, outer_step, src, inner * size, outer, inner * size);
  else if (outer == 1 || magnitude(outer_step) >= magnitude(inner_step))
    copy(dst, outer_step, inner_step, src, inner * size, size, outer, inner, (size_t)size);
  else if (to->native && outer_step == size && inner_step % size == 0)
    plan->table->transpose[plan->dtype](dst, inner_step / size, src, inner, outer, inner);
  else
    copy(dst, inner_step, outer_step, src, size, inner * size, inner, outer, (size_t)size);
}

static void store(const fl_plan *plan, const fl_output *to, ptrdiff_t start, ptrdiff_t n,
                  const void *from) {
  const char *src = from;
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    ptrdiff_t outer, inner;
    stretch(plan, &at, n, &outer, &inner);
    store_rectangle(plan, to, to->data + offset(plan, to->strides, &at), src,
                    outer_stride(plan, to->strides), to->strides[plan->ndim - 1], outer, inner);
    src += outer * inner * size;
    n -= outer * inner;
    advance(plan, &at, outer, inner);
  }
}

/* Copies bytes past the caches, which then need not read the lines that they replace. */
static void stream(char *to, const char *from, size_t bytes) {
  size_t done = 0;
#if defined(__SSE2__)
  const size_t head = -(uintptr_t)to % FL_LINE;
  if (head < bytes) {
    memcpy(to, from, head);
    for (done = head; done + FL_LINE <= bytes; done += FL_LINE)
      for (size_t i = done; i < done + FL_LINE; i += sizeof(__m128i))
        _mm_stream_si128((__m128i *)(to + i), _mm_loadu_si128((const __m128i *)(from + i)));
  }
#endif
  memcpy(to + done, from + done, bytes - done);
}

static void stream_zeros(char *to, size_t bytes) {
  size_t done = 0;
#if defined(__SSE2__)
  const size_t head = -(uintptr_t)to % FL_LINE;
  if (head < bytes) {
    memset(to, 0, head);
    for (done = head; done + FL_LINE <= bytes; done += FL_LINE)
      for (size_t i = done; i < done + FL_LINE; i += sizeof(__m128i))
        _mm_stream_si128((__m128i *)(to + i), _mm_setzero_si128());
  }
#endif
  memset(to + done, 0, bytes - done);
}

/* Makes streamed copies visible to other threads. */
static void finish_streams(void) {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/* ---- pointwise losses ---- */

/* An operand of a pointwise loss, which is read block by block. Where the same few elements follow
 * each other over and over, they lie in the buffer once and for all, so often that a block can
 * begin with each of them. */
typedef struct {
  const fl_operand *operand;
  char *buffer;
  ptrdiff_t period;   /* of what repeats; 0 if nothing does */
  int scales;         /* weights by `w_scale` */
  int lies, has_rows; /* as kernels take it: all elements, or those of a row */
  int asks, asks_in_parts;
} reader;

static ptrdiff_t period_of(const fl_plan *plan, const fl_operand *x) {
  const int last = plan->ndim - 1;
  for (int axis = 0; axis < last; axis++)
    if (x->strides[axis]) return 0;
  const ptrdiff_t period = x->strides[last] ? plan->shape[last] : 1;
  return period < plan->size && period <= FL_BLOCK ? period : 0;
}

/* For blocks of at most n elements. What is converted is asked for by kernels instead of the buffer
 * that they read, if asking for as many bytes leaves none out, or part by part when it is
 * converted. A cheap kernel waits for what it reads itself, and is held up by more. */
static reader new_reader(const fl_plan *plan, const fl_operand *x, ptrdiff_t n, void *buffer) {
  const int scales = x == &plan->w && plan->w_scale != 1;
  if (x->direct && !scales) return (reader){.operand = x, .lies = 1};
  const ptrdiff_t size = (ptrdiff_t)item_size(plan), stride = x->strides[plan->ndim - 1];
  reader from = {.operand = x, .buffer = buffer, .scales = scales};
  from.period = period_of(plan, x);
  from.has_rows = x->native && stride == size && !scales;
  from.asks = !is_cheap(plan) && plan->ndim == 1 && stride > 0 && stride <= size;
  from.asks_in_parts = plan->size * magnitude(stride) >= fl_bytes_to_ask_for(is_cheap(plan));
  if (from.period == 0) return from;
  load(plan, x, 0, from.period, 0, buffer);
  if (scales) scale_weights(plan, buffer, from.period);
  for (ptrdiff_t filled = from.period, all = from.period + n, more; filled < all; filled += more) {
    more = smaller(filled, all - filled);
    memcpy(from.buffer + filled * size, buffer, (size_t)(more * size));
  }
  return from;
}

/* Elements from start on, as they lie or in the buffer; and what the kernel asks for meanwhile. */
static const void *read_block(const fl_plan *plan, const reader *from, ptrdiff_t start, ptrdiff_t n,
                              ptrdiff_t *ahead) {
  const fl_operand *x = from->operand;
  const ptrdiff_t size = (ptrdiff_t)item_size(plan), following = plan->size - start - n;
  *ahead = 0;
  if (from->period) return from->buffer + start % from->period * size;
  if (from->lies) {
    *ahead = following > 0 ? fl_bytes_ahead() : 0;
    return x->data + start * size;
  }
  if (from->has_rows) {
    position at;
    seek(plan, start, &at);
    if (has_more(plan, &at, n)) {
      *ahead = following > 0 ? fl_bytes_ahead() : 0;
      return x->data + offset(plan, x->strides, &at);
    }
  }
  if (from->asks && following >= n)
    *ahead =
        (ptrdiff_t)((uintptr_t)(x->data + (start + n) * x->strides[0]) - (uintptr_t)from->buffer);
  const int asks = from->asks_in_parts && following > 0 && *ahead == 0;
  load(plan, x, start, n, asks ? n : 0, from->buffer);
  if (from->scales) scale_weights(plan, from->buffer, n);
  return from->buffer;
}

/* The operands of a plan, and a block of each. */
typedef struct {
  reader y, z, w;
} readers;

typedef struct {
  const void *y, *z, *w;
  fl_ahead ahead;
} block;

static readers new_readers(const fl_plan *plan, ptrdiff_t n, const pointwise_scratch *buffer) {
  readers from = {.y = new_reader(plan, &plan->y, n, buffer->y),
                  .z = new_reader(plan, &plan->z, n, buffer->z)};
  if (plan->weighted) from.w = new_reader(plan, &plan->w, n, buffer->w);
  return from;
}

static block read_blocks(const fl_plan *plan, const readers *from, ptrdiff_t start, ptrdiff_t n) {
  block x = {.w = ones(plan->dtype)};
  x.y = read_block(plan, &from->y, start, n, &x.ahead.y);
  x.z = read_block(plan, &from->z, start, n, &x.ahead.z);
  if (plan->weighted) x.w = read_block(plan, &from->w, start, n, &x.ahead.w);
  return x;
}

/* Whether kernels write all results past the caches. */
static int streams(const fl_plan *plan) {
  int all = outputs(plan->mode) > 0;
  for (int i = 0; i < outputs(plan->mode); i++)
    all = all && plan->out[i].direct && plan->out[i].streamed;
  return all;
}

/* Elements before the first one that begins a line of an output, if there are two: stores to two
 * arrays in turn take three times as long where they lie across lines. */
static ptrdiff_t before_line(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop) {
  if (outputs(plan->mode) < 2 || stop - start < 3 * FL_PART || !plan->out[0].direct) return 0;
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  return (ptrdiff_t)(-(uintptr_t)(plan->out[0].data + start * size) % FL_LINE) / size;
}

int fl_needs_scratch(const fl_plan *plan) {
  if (plan->rowwise || !plan->y.direct || !plan->z.direct) return 1;
  if (plan->weighted && !(plan->w.direct && plan->w_scale == 1)) return 1;
  for (int i = 0; i < outputs(plan->mode); i++)
    if (!plan->out[i].direct) return 1;
  return 0;
}

/* Where nothing is converted: the kernel makes the blocks. */
static int64_t run_direct(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, fl_sum *sums) {
  const ptrdiff_t bytes = start * (ptrdiff_t)item_size(plan);
  const ptrdiff_t ahead = stop < plan->size ? fl_bytes_ahead() : 0;
  const int results = outputs(plan->mode);
  return plan->pointwise->run[plan->mode](
      stop - start, &(fl_ahead){ahead, ahead, plan->weighted ? ahead : 0}, 0, plan->y.data + bytes,
      plan->z.data + bytes, plan->weighted ? plan->w.data + bytes : ones(plan->dtype),
      plan->weighted, plan->params, plan->scale, results > 0 ? plan->out[0].data + bytes : NULL,
      results > 1 ? plan->out[1].data + bytes : NULL, streams(plan), sums);
}

static int64_t run_pointwise(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                             fl_sum *sums) {
  const ptrdiff_t head = before_line(plan, start, stop);
  if (!fl_needs_scratch(plan)) {
    const int64_t flags = (head ? run_direct(plan, start, start + head, sums) : 0) |
                          run_direct(plan, start + head, stop, sums);
    if (streams(plan)) finish_streams();
    return flags;
  }
  fl_pointwise_fn *kernel = plan->pointwise->run[plan->mode];
  const int results = outputs(plan->mode);
  const ptrdiff_t blocks = blocks_at_once(plan), size = (ptrdiff_t)item_size(plan);
  const ptrdiff_t most = smaller(blocks * FL_BLOCK, stop - start);
  const pointwise_scratch buffer = pointwise_parts(scratch, blocks);
  const readers from = new_readers(plan, most, &buffer);
  int64_t flags = 0;
  for (ptrdiff_t at = start, n; at < stop; at += n) {
    n = at == start && head ? head : smaller(most, stop - at);
    const block x = read_blocks(plan, &from, at, n);
    void *out[2] = {NULL, NULL};
    for (int i = 0; i < results; i++)
      out[i] = plan->out[i].direct ? plan->out[i].data + at * size : (char *)buffer.out[i];
    flags |= kernel(n, &x.ahead, flags, x.y, x.z, x.w, plan->weighted, plan->params, plan->scale,
                    out[0], out[1], streams(plan), sums);
    for (int i = 0; i < results; i++)
      if (!plan->out[i].direct) store(plan, &plan->out[i], at, n, out[i]);
  }
  if (streams(plan)) finish_streams();
  return flags;
}

ptrdiff_t fl_reduced_width(ptrdiff_t kept) {
  const ptrdiff_t least = FL_BLOCK / 4; /* sums that vectors are added to, and no call for a few */
  return kept * ceil_div(least, larger(1, kept));
}

int64_t fl_run_reduced(const fl_plan *plan, ptrdiff_t width, ptrdiff_t start, ptrdiff_t stop,
                       void *scratch, double *sums) {
  const pointwise_scratch buffer = pointwise_parts(scratch, 1);
  fl_pointwise_fn *kernel = plan->pointwise->run[plan->mode];
  const readers from = new_readers(plan, FL_BLOCK, &buffer);
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  int64_t flags = 0;
  for (ptrdiff_t at = start; at < stop; at += FL_BLOCK) {
    const ptrdiff_t n = smaller(FL_BLOCK, stop - at);
    const block x = read_blocks(plan, &from, at, n);
    flags |= kernel(n, &x.ahead, flags, x.y, x.z, x.w, plan->weighted, plan->params, 1,
                    buffer.out[0], buffer.out[1], 0, NULL);
    for (int i = 0; i < outputs(plan->mode); i++) {
      double *values = sums + 2 * i * width, *errors = values + width;
      for (ptrdiff_t j = 0, run; j < n; j += run) {
        const ptrdiff_t first = (at + j) % width;
        run = smaller(n - j, width - first);
        plan->table->add_pairs[plan->dtype](run, (const char *)buffer.out[i] + j * size,
                                            values + first, errors + first);
      }
    }
  }
  return flags;
}

void fl_reduced_totals(ptrdiff_t kept, ptrdiff_t width, const double *sums, double *totals) {
  for (ptrdiff_t element = 0; element < kept; element++) {
    fl_sum sum = {0, 0};
    for (ptrdiff_t i = element; i < width; i += kept) {
      fl_sum_add(&sum, sums[i]);
      sum.error += sums[width + i];
    }
    totals[element] = fl_sum_result(sum);
  }
}

/* ---- row-wise losses ----
 *
 * Rows are taken in groups. How many make a group, and in which order their losses are added up,
 * follows from the number of classes and the loss alone, not from where the classes lie. */

/* Of a sum of terms, sparse targets need the label's own probability only. */
static int picks(const fl_plan *plan) {
  return plan->target == FL_SPARSE && !plan->rowwise->scan[FL_ACROSS];
}

/* What kernels are told of the targets. */
static fl_target kernel_target(const fl_plan *plan) {
  const int plain = plan->smoothing == 0 && plan->eps == 0 && !plan->class_weight;
  return plan->target == FL_DENSE && plain ? FL_PLAIN : plan->target;
}

static int has_long_rows(const fl_plan *plan) { return !picks(plan) && plan->classes > FL_FOLD; }

static ptrdiff_t group_rows(const fl_plan *plan) {
  if (picks(plan)) return FL_MAX_ROWS;
  const ptrdiff_t rows = TILE_ELEMENTS / larger(plan->classes, 1) / FL_LANES * FL_LANES;
  return larger(MIN_ROWS, smaller(rows, FL_MAX_ROWS));
}

static ptrdiff_t whole_vectors(ptrdiff_t n) { return ceil_div(n, FL_LANES) * FL_LANES; }

static int wants_loss(const fl_plan *plan) {
  return plan->mode != FL_GRAD && plan->mode != FL_GRAD_HESS;
}

/* The outputs from this one on are derivatives. */
static int first_rate(const fl_plan *plan) { return plan->mode == FL_LOSS_GRAD; }

/* Whether a tile's rows lie next to each other, whole, and others of the same array are in no
 * cache. */
static int asks_for_rows(const fl_plan *plan, const fl_tile *tile, ptrdiff_t class_stride,
                         ptrdiff_t row_stride) {
  return tile->classes == plan->classes && plan->classes * class_stride == row_stride &&
         plan->size * row_stride >= ROWS_BYTES;
}

/* Converts the tile's classes of rows start .. start + n - 1 into planes. Rows of another dtype are
 * asked for meanwhile, a few of the next tile at a time. */
static void load_tile(const fl_plan *plan, const fl_operand *from, ptrdiff_t class_stride,
                      ptrdiff_t start, ptrdiff_t n, const fl_tile *tile, void *to) {
  const int last = plan->ndim - 1;
  const ptrdiff_t size = (ptrdiff_t)item_size(plan), row_stride = from->strides[last], whole = n;
  const int asks = !from->native && asks_for_rows(plan, tile, class_stride, row_stride);
  char *dst = to;
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    ptrdiff_t rows = smaller(n, plan->shape[last] - at.index[last]);
    const char *src = from->data + offset(plan, from->strides, &at) + tile->first * class_stride;
    if (asks && has_more(plan, &at, rows + whole)) {
      rows = smaller(rows, ASKED);
      fetch(src + whole * row_stride, FL_LINE, rows * row_stride / FL_LINE, 0);
    }
    if (from->native && class_stride == size && row_stride % size == 0)
      plan->table->transpose[plan->dtype](dst, tile->rows, src, row_stride / size, rows,
                                          tile->classes);
    else if (magnitude(class_stride) < magnitude(row_stride))
      from->load(dst, 1, tile->rows, src, row_stride, class_stride, rows, tile->classes);
    else
      from->load(dst, tile->rows, 1, src, class_stride, row_stride, tile->classes, rows);
    dst += rows * size;
    n -= rows;
    advance(plan, &at, 1, rows);
  }
}

static void store_tile(const fl_plan *plan, int which, ptrdiff_t start, ptrdiff_t n,
                       const fl_tile *tile, const void *from) {
  const fl_output *to = &plan->out[which];
  const ptrdiff_t class_stride = plan->out_class[which], size = (ptrdiff_t)item_size(plan);
  const int asks = asks_for_rows(plan, tile, class_stride, to->strides[plan->ndim - 1]);
  const char *src = from;
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    const int last = plan->ndim - 1;
    ptrdiff_t rows = smaller(n, plan->shape[last] - at.index[last]);
    const ptrdiff_t row_stride = to->strides[last], plane = tile->rows * size;
    char *dst = to->data + offset(plan, to->strides, &at) + tile->first * class_stride;
    if (asks) {
      rows = smaller(rows, ASKED);
      fetch(dst, FL_LINE, rows * row_stride / FL_LINE, FL_ROWS_AHEAD / FL_LINE);
    }
    if (to->native && class_stride == size && row_stride % size == 0)
      plan->table->transpose[plan->dtype](dst, row_stride / size, src, tile->rows, tile->classes,
                                          rows);
    else if (magnitude(class_stride) < magnitude(row_stride))
      copy(dst, row_stride, class_stride, src, size, plane, rows, tile->classes, (size_t)size);
    else
      copy(dst, class_stride, row_stride, src, plane, size, tile->classes, rows, (size_t)size);
    src += rows * size;
    n -= rows;
    advance(plan, &at, 1, rows);
  }
}

/* Classes of rows start .. start + n - 1, as wide integers and as lanes. Returns flags. */
static int64_t load_labels(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, int64_t *wide,
                           void *lanes) {
  const int last = plan->ndim - 1;
  const int asks = plan->size * magnitude(plan->y.strides[last]) >= LABELS_BYTES;
  int64_t *dst = wide;
  ptrdiff_t left = n;
  position at;
  seek(plan, start, &at);
  while (left > 0) {
    const ptrdiff_t rows = smaller(left, plan->shape[last] - at.index[last]);
    const ptrdiff_t stride = plan->y.strides[last];
    const char *label = plan->y.data + offset(plan, plan->y.strides, &at);
    if (asks && has_more(plan, &at, rows + n)) fetch(label, stride, rows, n);
    plan->label(dst, label, stride, rows);
    dst += rows;
    left -= rows;
    advance(plan, &at, 1, rows);
  }
  return plan->table->classify[plan->dtype](n, wide, plan->classes, plan->ignores, plan->ignored,
                                            lanes);
}

static void set_zero(const fl_plan *plan, void *x, ptrdiff_t i, ptrdiff_t n) {
  memset((char *)x + (size_t)i * item_size(plan), 0, (size_t)n * item_size(plan));
}

/* Weights of the rows, 0 for those that do not count. */
static void load_row_weights(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n,
                             const int64_t *label, void *w) {
  if (plan->weighted) {
    load(plan, &plan->w, start, n, 0, w);
    scale_weights(plan, w, n);
  } else {
    memcpy(w, ones(plan->dtype), (size_t)n * item_size(plan));
  }
  if (plan->ignores)
    for (ptrdiff_t i = 0; i < n; i++)
      if (label[i] == FL_IGNORED) set_zero(plan, w, i, 1);
}

/* Weights of the classes from the given one on. */
static const void *class_weights(const fl_plan *plan, ptrdiff_t first) {
  if (!plan->class_weight) return ones(plan->dtype);
  return (const char *)plan->class_weight + (size_t)first * item_size(plan);
}

/* A group of n rows and what is known of them: lanes without a row are zero. */
static fl_tile new_group(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, ptrdiff_t rows,
                         rowwise_scratch *buffer) {
  fl_tile tile = {
      .rows = rows,
      .all_classes = plan->classes,
      .smoothing = plan->smoothing,
      .eps = plan->eps,
      .scale = plan->scale,
      .z = {.body = buffer->z, .step = rows},
      .y = {.body = buffer->y, .step = rows},
      .e = buffer->e,
      .grad = {.body = buffer->grad, .step = rows},
      .hess = {.body = buffer->hess, .step = rows},
      .wants_grad = plan->mode >= FL_GRAD,
      .wants_hess = plan->mode == FL_GRAD_HESS,
      .weighs_classes = plan->class_weight != NULL,
      .label = buffer->label,
      .w = buffer->w,
      .max = buffer->max,
      .tops = buffer->tops,
      .sum = buffer->sum,
      .sum_lo = buffer->sum_lo,
      .gap = buffer->gap,
      .gap_lo = buffer->gap_lo,
      .total = buffer->total,
      .total_lo = buffer->total_lo,
      .sharers = buffer->sharers,
      .own = buffer->own,
      .inverse = buffer->inverse,
      .rate = buffer->rate,
      .loss = buffer->loss,
  };
  if (plan->target == FL_DENSE) {
    set_zero(plan, tile.label, 0, rows);
  } else {
    set_zero(plan, tile.label, n, rows - n);
    tile.flags |= load_labels(plan, start, n, buffer->wide_label, tile.label);
  }
  set_zero(plan, tile.w, n, rows - n);
  load_row_weights(plan, start, n, buffer->wide_label, tile.w);
  if (!picks(plan)) plan->rowwise->begin(&tile);
  return tile;
}

/* Whether planes of an operand or output can be used as they lie. */
static int lies_across(const fl_plan *plan, int native, ptrdiff_t class_stride,
                       const ptrdiff_t *strides) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  return native && strides[plan->ndim - 1] == size && class_stride % size == 0;
}

static int operand_lies_across(const fl_plan *plan, const fl_operand *x, ptrdiff_t class_stride) {
  return lies_across(plan, x->native, class_stride, x->strides);
}

static int output_lies_across(const fl_plan *plan, int which) {
  const fl_output *to = &plan->out[which];
  return lies_across(plan, to->native, plan->out_class[which], to->strides);
}

/* Rows from start on that the last axis has. */
static ptrdiff_t run_of_rows(const fl_plan *plan, ptrdiff_t start) {
  const ptrdiff_t length = plan->shape[plan->ndim - 1];
  return length - start % length;
}

_Static_assert(FL_FOLD *FL_MAX_ROWS <= KEPT, "room for the exponentials of a tile");

/* Steps across rows go through the tiles to and fro, so that each begins with planes that are still
 * in a cache; sums are formed forwards. */
typedef enum { SCAN_ACROSS, ACCUMULATE_ACROSS, DERIVE_ACROSS } across_step;

/* Bytes from an element of the tile to the one in its place when planes are used next: those of the
 * next tile of the step, or of the next rows. */
static ptrdiff_t next_place(const fl_plan *plan, ptrdiff_t class_stride, const fl_tile *tile,
                            across_step step) {
  if (step != ACCUMULATE_ACROSS && tile->first > 0) return -FL_FOLD * class_stride;
  if (step == ACCUMULATE_ACROSS && tile->first + FL_FOLD < plan->classes)
    return FL_FOLD * class_stride;
  return tile->rows * (ptrdiff_t)item_size(plan);
}

/* The tile in a buffer. Rows that follow its own are asked for while it is computed, line by line,
 * as the memory brings them: so far ahead that it has the time. */
static fl_rows planes_in(const fl_plan *plan, const fl_operand *from, ptrdiff_t class_stride,
                         ptrdiff_t start, ptrdiff_t n, const fl_tile *tile, void *buffer) {
  const ptrdiff_t row_stride = from->strides[plan->ndim - 1];
  fl_rows x = {.body = buffer, .step = tile->rows};
  if (!from->native || !asks_for_rows(plan, tile, class_stride, row_stride)) return x;
  const ptrdiff_t ahead = n * ceil_div(TILE_ELEMENTS, n * plan->classes);
  if (ahead + n > run_of_rows(plan, start)) return x;
  position at;
  seek(plan, start, &at);
  const char *next = from->data + offset(plan, from->strides, &at) + ahead * row_stride;
  x.ahead = (ptrdiff_t)((uintptr_t)next - (uintptr_t)buffer);
  x.in_rows = 1;
  return x;
}

/* The planes of the tile's classes: as they lie, if its rows are whole vectors of one run, or
 * converted into buffer. */
static fl_rows planes_at(const fl_plan *plan, const fl_operand *from, ptrdiff_t class_stride,
                         ptrdiff_t start, ptrdiff_t n, const fl_tile *tile, across_step step,
                         void *buffer) {
  if (operand_lies_across(plan, from, class_stride) && n == tile->rows &&
      n <= run_of_rows(plan, start)) {
    position at;
    seek(plan, start, &at);
    return (fl_rows){
        .body = (char *)from->data + offset(plan, from->strides, &at) + tile->first * class_stride,
        .step = class_stride / (ptrdiff_t)item_size(plan),
        .ahead = next_place(plan, class_stride, tile, step)};
  }
  load_tile(plan, from, class_stride, start, n, tile, buffer);
  return planes_in(plan, from, class_stride, start, n, tile, buffer);
}

/* Where planes of an output are formed: in place, or in buffer. */
static fl_rows result_planes_at(const fl_plan *plan, int which, ptrdiff_t start, ptrdiff_t n,
                                const fl_tile *tile, void *buffer) {
  const fl_output *to = &plan->out[which];
  if (!output_lies_across(plan, which) || n != tile->rows || n > run_of_rows(plan, start))
    return (fl_rows){.body = buffer, .step = tile->rows};
  position at;
  seek(plan, start, &at);
  char *body = to->data + offset(plan, to->strides, &at) + tile->first * plan->out_class[which];
  const int aligned = (uintptr_t)body % 16 == 0 && plan->out_class[which] % 16 == 0;
  return (fl_rows){.body = body,
                   .step = plan->out_class[which] / (ptrdiff_t)item_size(plan),
                   .ahead = next_place(plan, plan->out_class[which], tile, DERIVE_ACROSS),
                   .past = to->streamed && aligned};
}

_Static_assert(MIN_ROWS *FL_FOLD <= TILE_ELEMENTS, "rows that fill no vectors fit a tile");

/* Few classes, or classes that lie farther apart than rows. */
static int64_t run_across(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n,
                          rowwise_scratch *buffer) {
  const fl_rowwise *loss = plan->rowwise;
  const ptrdiff_t classes = plan->classes;
  const int once = classes <= FL_FOLD; /* one tile holds all classes */
  const int dense = plan->target == FL_DENSE, first = first_rate(plan);
  fl_tile tile = new_group(plan, start, n, whole_vectors(n), buffer);
  const int keeps = tile.rows * classes <= (classes <= LONG_ROW ? TILE_ELEMENTS : KEPT);
  const fl_target target = kernel_target(plan);
  const fl_layout layout = !keeps && loss->accumulate[FL_PLANES][target] ? FL_PLANES : FL_ACROSS;
  if (n < tile.rows) { /* lanes without a row hold finite numbers */
    const ptrdiff_t elements = tile.rows * smaller(classes, FL_FOLD);
    set_zero(plan, buffer->z, 0, elements);
    if (dense) set_zero(plan, buffer->y, 0, elements);
  }

  const ptrdiff_t last = (classes - 1) / FL_FOLD * FL_FOLD;
  for (across_step step = SCAN_ACROSS; step <= DERIVE_ACROSS; step++) {
    if (step == SCAN_ACROSS && !loss->scan[FL_ACROSS] && !once) continue;
    if (step == ACCUMULATE_ACROSS && !loss->scan[FL_ACROSS] && !wants_loss(plan)) {
      loss->finish(&tile);
      continue;
    }
    if (step == DERIVE_ACROSS && plan->mode < FL_GRAD) break;
    for (ptrdiff_t done = 0; done <= last; done += FL_FOLD) {
      tile.first = step == ACCUMULATE_ACROSS ? done : last - done;
      tile.classes = smaller(FL_FOLD, classes - tile.first);
      tile.class_weight = class_weights(plan, tile.first);
      if (keeps) tile.e = (char *)buffer->e + (size_t)(tile.first * tile.rows) * item_size(plan);
      if (step == SCAN_ACROSS || !once) {
        tile.z = planes_at(plan, &plan->z, plan->z_class, start, n, &tile, step, buffer->z);
        if (dense)
          tile.y = planes_at(plan, &plan->y, plan->y_class, start, n, &tile, step, buffer->y);
      }
      if (step == SCAN_ACROSS && loss->scan[FL_ACROSS]) loss->scan[FL_ACROSS](&tile);
      if (step == ACCUMULATE_ACROSS) loss->accumulate[layout][target](&tile);
      if (step != DERIVE_ACROSS) continue;
      tile.grad = result_planes_at(plan, first, start, n, &tile, buffer->grad);
      if (tile.wants_hess) tile.hess = result_planes_at(plan, 1, start, n, &tile, buffer->hess);
      loss->derive[layout][target](&tile);
      if (tile.grad.body == buffer->grad) store_tile(plan, first, start, n, &tile, buffer->grad);
      if (tile.wants_hess && tile.hess.body == buffer->hess)
        store_tile(plan, 1, start, n, &tile, buffer->hess);
    }
    if (step == ACCUMULATE_ACROSS) loss->finish(&tile);
  }
  return tile.flags;
}

static void copy_lanes(const fl_plan *plan, void *dst, const void *src) {
  if (plan->dtype == FL_F32) /* sizes that the compiler knows */
    memcpy(dst, src, FL_LANES * sizeof(float));
  else
    memcpy(dst, src, FL_LANES * sizeof(double));
}

/* Whether `count` rows of an operand or output can be used as they lie but for their tails: native,
 * classes next to each other, rows at one distance. */
static int lies_along(const fl_plan *plan, int native, ptrdiff_t class_stride,
                      const ptrdiff_t *strides, const position *at, const fl_tile *tile) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  const int last = plan->ndim - 1;
  return native && class_stride == size && strides[last] % size == 0 &&
         tile->count <= plan->shape[last] - at->index[last];
}

/* How many of the tile's classes are no padding. */
static ptrdiff_t true_classes(const fl_plan *plan, const fl_tile *tile) {
  return smaller(tile->classes, plan->classes - tile->first);
}

/* The tile's rows in a buffer, one after the other. */
static fl_rows rows_in(void *buffer, const fl_tile *tile, ptrdiff_t size) {
  return (fl_rows){.body = buffer,
                   .tail = (char *)buffer + tile->whole * size,
                   .step = tile->classes,
                   .tail_step = tile->classes};
}

/* The tile's elements of an operand: as they lie, with tails in a buffer of their own where the
 * padding is there already, or converted into buffer and padded. A tail is taken as part of the
 * last FL_LANES classes, so that the same number of bytes is copied whatever is left. */
static fl_rows rows_at(const fl_plan *plan, const fl_operand *from, ptrdiff_t class_stride,
                       const position *start, const fl_tile *tile, const void *padding,
                       void *buffer, void *tails) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan), last = plan->ndim - 1;
  const ptrdiff_t n = true_classes(plan, tile), skipped = tile->first * class_stride;
  if (lies_along(plan, from->native, class_stride, from->strides, start, tile)) {
    char *body = (char *)from->data + offset(plan, from->strides, start) + skipped;
    const char *src = body + (n - FL_LANES) * size;
    char *dst = tails;
    if (tile->whole < tile->classes)
      for (ptrdiff_t i = 0; i < tile->count; i++, src += from->strides[last], dst += TAIL * size)
        copy_lanes(plan, dst, src);
    return (fl_rows){.body = body,
                     .tail = (char *)tails + (FL_LANES - (n - tile->whole)) * size,
                     .step = from->strides[last] / size,
                     .tail_step = TAIL};
  }
  position at = *start;
  char *dst = buffer;
  for (ptrdiff_t i = 0; i < tile->count; i++, advance(plan, &at, 1, 1)) {
    const char *src = from->data + offset(plan, from->strides, &at) + skipped;
    copy_lanes(plan, dst + (tile->classes - FL_LANES) * size, padding);
    if (from->native && class_stride == size)
      memcpy(dst, src, (size_t)(n * size));
    else
      from->load(dst, 0, 1, src, 0, class_stride, 1, n);
    dst += tile->classes * size;
  }
  return rows_in(buffer, tile, size);
}

/* Where the tile's elements of an output are formed: in place, but for tails, or in buffer. */
static fl_rows results_at(const fl_plan *plan, int which, const position *start,
                          const fl_tile *tile, void *buffer, void *tails) {
  const fl_output *to = &plan->out[which];
  const ptrdiff_t class_stride = plan->out_class[which], size = (ptrdiff_t)item_size(plan);
  if (!to->streamed && lies_along(plan, to->native, class_stride, to->strides, start, tile))
    return (fl_rows){
        .body = to->data + offset(plan, to->strides, start) + tile->first * class_stride,
        .tail = (char *)tails + FL_LANES * size,
        .step = to->strides[plan->ndim - 1] / size,
        .tail_step = TAIL};
  return rows_in(buffer, tile, size);
}

/* Zeros the rows that are ignored, and copies what was not formed in place: a tail together with
 * the classes before it, which are. */
static void store_rows(const fl_plan *plan, int which, const position *start, const fl_tile *tile,
                       const int64_t *label, fl_rows from, const void *buffer) {
  const fl_output *to = &plan->out[which];
  const ptrdiff_t size = (ptrdiff_t)item_size(plan), stride = plan->out_class[which];
  const ptrdiff_t n = true_classes(plan, tile), tail = n - tile->whole;
  char *body = from.body, *tails = (char *)from.tail - FL_LANES * size;
  if (from.body != buffer) {
    for (ptrdiff_t i = 0; i < tile->count && tile->whole < tile->classes; i++) {
      char *end = body + (i * from.step + tile->whole) * size, *parts = tails + i * TAIL * size;
      copy_lanes(plan, parts, end - FL_LANES * size);
      copy_lanes(plan, end + (tail - FL_LANES) * size, parts + tail * size);
    }
  }
  if (plan->ignores)
    for (ptrdiff_t i = 0; i < tile->count; i++)
      if (label[tile->row + i] == FL_IGNORED) set_zero(plan, body, i * from.step, n);
  if (from.body != buffer) return;
  position at = *start;
  for (ptrdiff_t i = 0; i < tile->count; i++, advance(plan, &at, 1, 1)) {
    char *dst = to->data + offset(plan, to->strides, &at) + tile->first * stride;
    const char *src = body + i * from.step * size;
    if (to->streamed)
      stream(dst, src, (size_t)(n * size));
    else if (stride == size)
      memcpy(dst, src, (size_t)(n * size));
    else
      copy(dst, 0, stride, src, 0, size, 1, n, (size_t)size);
  }
}

_Static_assert(TILE_ELEMENTS / FL_FOLD + FL_ALONG_ROWS <= FL_ALONG_BLOCKS, "rows end in a block");

/* FL_LANES times the same number. */
static void fill_lanes(const fl_plan *plan, void *lanes, double x) {
  for (int j = 0; j < FL_LANES; j++) {
    if (plan->dtype == FL_F32)
      ((float *)lanes)[j] = (float)x;
    else
      ((double *)lanes)[j] = x;
  }
}

/* A step of a loss along its rows, for all tiles of the group. */
typedef enum { SCAN = 1, ACCUMULATE = 2, DERIVE = 4 } along_step;

static void step_along(const fl_plan *plan, int steps, int keeps, const position *at, fl_tile *tile,
                       rowwise_scratch *buffer) {
  const fl_rowwise *loss = plan->rowwise;
  const ptrdiff_t padded = whole_vectors(plan->classes), size = (ptrdiff_t)item_size(plan);
  const ptrdiff_t last_span = (plan->classes - 1) / SPAN * SPAN;
  for (tile->first = 0; tile->first < plan->classes; tile->first += SPAN) {
    tile->classes = smaller(SPAN, padded - tile->first);
    tile->whole = true_classes(plan, tile) / FL_LANES * FL_LANES;
    tile->class_weight = tile->first == last_span ? (const void *)buffer->class_weight
                                                  : class_weights(plan, tile->first);
    tile->e_step = !tile->wants_grad ? 0 : keeps ? padded : tile->classes;
    tile->e = (char *)buffer->e + (keeps ? tile->row * padded + tile->first : 0) * size;
    if (!(steps == DERIVE && keeps && plan->target == FL_SPARSE))
      tile->z = rows_at(plan, &plan->z, plan->z_class, at, tile, buffer->padding[0], buffer->z,
                        buffer->tail[0]);
    if (plan->target == FL_DENSE && steps != SCAN)
      tile->y = rows_at(plan, &plan->y, plan->y_class, at, tile, buffer->padding[1], buffer->y,
                        buffer->tail[1]);
    if (steps & SCAN && loss->scan[FL_ALONG]) loss->scan[FL_ALONG](tile);
    if (steps & ACCUMULATE) loss->accumulate[FL_ALONG][kernel_target(plan)](tile);
    if (steps != DERIVE) continue;
    if (loss->again_along && !keeps) loss->again_along(tile);
    const int first = first_rate(plan);
    tile->grad = results_at(plan, first, at, tile, buffer->grad, buffer->tail[2]);
    if (tile->wants_hess) tile->hess = results_at(plan, 1, at, tile, buffer->hess, buffer->tail[3]);
    loss->derive[FL_ALONG][kernel_target(plan)](tile);
    store_rows(plan, first, at, tile, buffer->wide_label, tile->grad, buffer->grad);
    if (tile->wants_hess)
      store_rows(plan, 1, at, tile, buffer->wide_label, tile->hess, buffer->hess);
  }
}

/* ---- rows as one ----
 *
 * Of plain targets, the terms of a sum and their derivatives do not depend on the row, if all have
 * the same rate. Rows that follow one another are then one long row: few classes need not be made
 * planes, nor many be filled up to whole vectors. */

static int follow(const fl_plan *plan, int native, ptrdiff_t class_stride,
                  const ptrdiff_t *strides) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  return native && plan->ndim == 1 && class_stride == size && strides[0] == plan->classes * size;
}

static int are_one(const fl_plan *plan) {
  if (!plan->rowwise->terms || kernel_target(plan) != FL_PLAIN) return 0;
  int one = (!plan->weighted || plan->mode < FL_GRAD) &&
            follow(plan, plan->z.native, plan->z_class, plan->z.strides) &&
            follow(plan, plan->y.native, plan->y_class, plan->y.strides);
  for (int i = first_rate(plan); i < outputs(plan->mode) && plan->mode >= FL_GRAD; i++)
    one = one && follow(plan, plan->out[i].native, plan->out_class[i], plan->out[i].strides);
  return one;
}

/* Rows of an operand from `start` on: as they lie, but for a tail that is filled up. */
static fl_rows one_row_at(const fl_plan *plan, const fl_operand *from, ptrdiff_t start,
                          ptrdiff_t whole, ptrdiff_t rest, double padding, void *tail) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  char *body = (char *)from->data + start * from->strides[0];
  fill_lanes(plan, tail, padding);
  memcpy(tail, body + whole * size, (size_t)(rest * size));
  return (fl_rows){.body = body, .tail = tail, .step = whole};
}

/* n rows of a group as one. */
static fl_tile as_one(const fl_plan *plan, const fl_tile *group, ptrdiff_t start, ptrdiff_t n,
                      rowwise_scratch *buffer) {
  const ptrdiff_t elements = n * plan->classes, rest = elements % FL_LANES;
  fl_tile one = *group;
  one.row = 0;
  one.count = 1;
  one.whole = elements - rest;
  one.classes = whole_vectors(elements);
  one.z =
      one_row_at(plan, &plan->z, start, one.whole, rest, plan->rowwise->padding, buffer->tail[0]);
  one.y = one_row_at(plan, &plan->y, start, one.whole, rest, 0, buffer->tail[1]);
  return one;
}

static int64_t derive_as_one(const fl_plan *plan, fl_tile *one, ptrdiff_t start, ptrdiff_t n,
                             rowwise_scratch *buffer) {
  const int first = first_rate(plan), count = one->wants_hess ? 2 : 1;
  const size_t size = item_size(plan);
  fl_rows *const rates[2] = {&one->grad, &one->hess};
  for (int i = 0; i < count; i++) {
    const fl_output *to = &plan->out[first + i];
    *rates[i] = (fl_rows){.body = to->data + start * to->strides[0], .tail = buffer->tail[2 + i]};
  }
  plan->rowwise->derive[FL_ALONG][FL_PLAIN](one);
  const size_t whole = (size_t)one->whole * size, rest = (size_t)(n * plan->classes) * size - whole;
  for (int i = 0; i < count; i++) memcpy((char *)rates[i]->body + whole, rates[i]->tail, rest);
  return one->flags;
}

/* Few classes. */
static int64_t run_as_one(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n,
                          rowwise_scratch *buffer) {
  const fl_rowwise *loss = plan->rowwise;
  fl_tile tile = new_group(plan, start, n, whole_vectors(n), buffer);
  fl_tile one = as_one(plan, &tile, start, n, buffer);
  if (wants_loss(plan)) {
    loss->terms(&one);
    tile.classes = plan->classes;
    tile.e = buffer->z;
    if (n < tile.rows) set_zero(plan, tile.e, 0, tile.rows * tile.classes);
    plan->table->transpose[plan->dtype](tile.e, tile.rows, one.e, plan->classes, n, plan->classes);
    loss->add_terms(&tile);
  }
  loss->finish(&tile);
  return plan->mode < FL_GRAD ? one.flags : derive_as_one(plan, &one, start, n, buffer);
}

/* Many classes: several rows at a time, along their classes. */
static int64_t run_along(const fl_plan *plan, int rows_are_one, ptrdiff_t start, ptrdiff_t n,
                         rowwise_scratch *buffer) {
  const fl_rowwise *loss = plan->rowwise;
  const ptrdiff_t classes = plan->classes, padded = whole_vectors(classes);
  const ptrdiff_t last_span = (classes - 1) / SPAN * SPAN;
  const int scans = loss->scan[FL_ALONG] != NULL;
  const int keeps = plan->mode >= FL_GRAD && scans && n * padded <= KEPT;
  const ptrdiff_t rows = larger(1, smaller(FL_ALONG_ROWS, TILE_ELEMENTS / padded));
  fl_tile tile = new_group(plan, start, n, whole_vectors(n), buffer);
  fill_lanes(plan, buffer->padding[0], loss->padding);
  fill_lanes(plan, buffer->padding[1], 0);
  for (int which = 0; which < 2; which++)
    for (ptrdiff_t i = 0; i < smaller(rows, n); i++)
      copy_lanes(plan,
                 (char *)buffer->tail[which] + (i * TAIL + FL_LANES) * (ptrdiff_t)item_size(plan),
                 buffer->padding[which]);
  set_zero(plan, buffer->class_weight, 0, whole_vectors(classes - last_span));
  memcpy(buffer->class_weight, class_weights(plan, plan->class_weight ? last_span : 0),
         (size_t)(classes - last_span) * item_size(plan));

  position first, at;
  seek(plan, start, &first);
  at = first;
  for (tile.row = 0; tile.row < n && (scans || wants_loss(plan)); tile.row += rows) {
    tile.count = smaller(rows, n - tile.row);
    if (classes <= SPAN) {
      step_along(plan, SCAN | ACCUMULATE, keeps, &at, &tile, buffer);
    } else {
      if (scans) step_along(plan, SCAN, keeps, &at, &tile, buffer);
      step_along(plan, ACCUMULATE, keeps, &at, &tile, buffer);
    }
    advance_by(plan, &at, tile.count);
  }
  loss->finish(&tile);
  if (plan->mode < FL_GRAD) return tile.flags;
  if (rows_are_one) {
    fl_tile one = as_one(plan, &tile, start, n, buffer);
    return derive_as_one(plan, &one, start, n, buffer);
  }
  at = first;
  for (tile.row = 0; tile.row < n; tile.row += rows) {
    tile.count = smaller(rows, n - tile.row);
    step_along(plan, DERIVE, keeps, &at, &tile, buffer);
    advance_by(plan, &at, tile.count);
  }
  return tile.flags;
}

#define PICK(type)                                                                            \
  for (ptrdiff_t i = 0; i < rows; i++)                                                        \
    memcpy((type *)to + done + i, row + i * row_stride + larger(label[done + i], 0) * stride, \
           sizeof(type));

/* The probabilities of the labels, one after the other. */
static void pick(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, const int64_t *label,
                 void *to) {
  const int last = plan->ndim - 1;
  const ptrdiff_t row_stride = plan->z.strides[last], stride = plan->z_class;
  position at;
  seek(plan, start, &at);
  for (ptrdiff_t done = 0, rows; done < n; done += rows, advance(plan, &at, 1, rows)) {
    rows = smaller(n - done, plan->shape[last] - at.index[last]);
    const char *row = plan->z.data + offset(plan, plan->z.strides, &at);
    if (!plan->z.native) {
      for (ptrdiff_t i = 0; i < rows; i++)
        plan->z.load((char *)to + (size_t)(done + i) * item_size(plan), 1, 1,
                     row + i * row_stride + larger(label[done + i], 0) * stride, 0, 0, 1, 1);
    } else if (plan->dtype == FL_F32) {
      PICK(float)
    } else {
      PICK(double)
    }
  }
}

/* The way back: zeros but for the label's own derivative. */
static void place(const fl_plan *plan, int which, ptrdiff_t start, ptrdiff_t n,
                  const int64_t *label, const void *from) {
  static const char zero[8] = {0};
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  const fl_output *to = &plan->out[which];
  const ptrdiff_t stride = plan->out_class[which], row_size = plan->classes * size;
  const int last = plan->ndim - 1;
  const ptrdiff_t row_stride = to->strides[last];
  const char *src = from;
  position at;
  seek(plan, start, &at);
  for (ptrdiff_t done = 0; done < n;) {
    const ptrdiff_t rows = smaller(n - done, plan->shape[last] - at.index[last]);
    char *row = to->data + offset(plan, to->strides, &at);
    const int dense = stride == size && row_stride == row_size;
    if (dense && to->streamed) {
      stream_zeros(row, (size_t)(rows * row_size));
      finish_streams();
    } else if (dense) {
      memset(row, 0, (size_t)(rows * row_size));
    }
    for (ptrdiff_t i = 0; i < rows; i++, row += row_stride, src += size) {
      const int64_t k = label[done + i];
      if (!dense) copy(row, 0, stride, zero, 0, 0, 1, plan->classes, (size_t)size);
      if (k < 0) continue;
      if (plan->dtype == FL_F32)
        memcpy(row + k * stride, src, sizeof(float));
      else
        memcpy(row + k * stride, src, sizeof(double));
    }
    done += rows;
    advance(plan, &at, 1, rows);
  }
}

/* The labels' own classes in a buffer. */
static fl_matrix own_in(const fl_plan *plan, void *buffer) {
  return (fl_matrix){.data = buffer, .step = (ptrdiff_t)item_size(plan)};
}

/* All classes as they lie: FL_LANES rows at a time are then taken from begin to end, so that
 * results are written while others are computed. Not of long rows, many of which lie on the way
 * from one label's class to the next: those are asked for sooner where nothing else is done
 * meanwhile. */
static int lies_in_rows(const fl_plan *plan, int native, ptrdiff_t class_stride,
                        const ptrdiff_t *strides) {
  const ptrdiff_t step = strides[plan->ndim - 1];
  return native && class_stride == (ptrdiff_t)item_size(plan) && step >= 0 && step <= OWN_BYTES;
}

static fl_matrix rows_of(const fl_plan *plan, const char *data, const ptrdiff_t *strides,
                         ptrdiff_t start) {
  position at;
  seek(plan, start, &at);
  return (fl_matrix){.data = (char *)data + offset(plan, strides, &at),
                     .step = strides[plan->ndim - 1],
                     .all_classes = 1};
}

static fl_matrix probabilities_of(const fl_plan *plan, int in_place, ptrdiff_t start, ptrdiff_t n,
                                  const int64_t *label, void *buffer) {
  if (in_place && lies_in_rows(plan, plan->z.native, plan->z_class, plan->z.strides))
    return rows_of(plan, plan->z.data, plan->z.strides, start);
  pick(plan, start, n, label, buffer);
  for (ptrdiff_t i = n; i < whole_vectors(n); i++)
    memcpy((char *)buffer + (size_t)i * item_size(plan), ones(plan->dtype), item_size(plan));
  return own_in(plan, buffer);
}

static fl_matrix results_of(const fl_plan *plan, int which, int in_place, ptrdiff_t start,
                            void *buffer) {
  const fl_output *to = &plan->out[which];
  const int dense = to->strides[plan->ndim - 1] == plan->classes * (ptrdiff_t)item_size(plan);
  if (in_place && dense && !to->streamed &&
      lies_in_rows(plan, to->native, plan->out_class[which], to->strides))
    return rows_of(plan, to->data, to->strides, start);
  return own_in(plan, buffer);
}

/* Sparse targets of a sum of terms: the tile's `count` rows, n of which are no padding. */
static void step_own(const fl_plan *plan, int in_place, ptrdiff_t start, ptrdiff_t n, fl_tile *tile,
                     rowwise_scratch *buffer) {
  const int64_t *label = buffer->wide_label + tile->row;
  const int first = first_rate(plan);
  const int count = plan->mode < FL_GRAD ? 0 : outputs(plan->mode) - first;
  void *const rates[2] = {buffer->grad, buffer->hess};
  const fl_matrix p = probabilities_of(plan, in_place, start, n, label, buffer->z);
  fl_matrix to[2] = {{0}};
  for (int i = 0; i < count; i++) to[i] = results_of(plan, first + i, in_place, start, rates[i]);
  plan->rowwise->own[plan->mode](tile, &p, &to[0], &to[1]);
  for (int i = 0; i < count; i++)
    if (!to[i].all_classes) place(plan, first + i, start, n, label, rates[i]);
}

/* Whole vectors of rows of one run, and the others. */
static int64_t run_own(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, rowwise_scratch *buffer) {
  fl_tile tile = new_group(plan, start, n, whole_vectors(n), buffer);
  const ptrdiff_t whole = n <= run_of_rows(plan, start) ? n / FL_LANES * FL_LANES : 0;
  tile.class_weight = class_weights(plan, 0);
  tile.count = whole;
  if (whole > 0) step_own(plan, 1, start, whole, &tile, buffer);
  tile.row = whole;
  tile.count = tile.rows - whole;
  if (whole < n) step_own(plan, 0, start + whole, n - whole, &tile, buffer);
  return tile.flags;
}

/* Many classes that lie no farther apart than rows do, which a repeated row does not from the next;
 * or so few rows that they would leave most of a vector empty. */
static int runs_along(const fl_plan *plan) {
  const ptrdiff_t distance = magnitude(plan->z.strides[plan->ndim - 1]);
  return plan->classes > LONG_ROW &&
         (plan->size <= FEW_ROWS || distance == 0 || magnitude(plan->z_class) <= distance);
}

/* Whether planes are used as they lie. */
static int lies_in_planes(const fl_plan *plan) {
  int in_place = !picks(plan) && !runs_along(plan) &&
                 operand_lies_across(plan, &plan->z, plan->z_class) &&
                 (plan->target != FL_DENSE || operand_lies_across(plan, &plan->y, plan->y_class));
  for (int i = first_rate(plan); i < outputs(plan->mode) && plan->mode >= FL_GRAD; i++)
    in_place = in_place && output_lies_across(plan, i);
  return in_place;
}

/* Whether reading narrow planes would take longer than forming exponentials twice. */
static int comes_from_memory(const fl_plan *plan) {
  return plan->size * plan->classes * (ptrdiff_t)item_size(plan) >= PLANES_BYTES;
}

/* The number of rows of the group that starts here: where they lie in planes, as many as there is
 * room for; and along long rows, which are added up one by one. */
static ptrdiff_t next_group(const fl_plan *plan, int in_planes, ptrdiff_t at, ptrdiff_t stop) {
  const ptrdiff_t unit = group_rows(plan), n = smaller(unit, stop - at);
  const ptrdiff_t room = plan->classes <= LONG_ROW ? TILE_ELEMENTS : KEPT;
  if (has_long_rows(plan) && runs_along(plan))
    return larger(1, smaller(n, room / whole_vectors(plan->classes)));
  if (!in_planes) return n;
  ptrdiff_t rows = smaller(FL_MAX_ROWS, smaller(stop - at, run_of_rows(plan, at)));
  if (!has_long_rows(plan))
    rows = smaller(rows, room / larger(plan->classes, 1)) / unit * unit;
  else if (plan->mode >= FL_GRAD && room / plan->classes >= FL_LANES && !comes_from_memory(plan))
    rows = smaller(rows, room / plan->classes);
  return rows >= FL_LANES ? rows / FL_LANES * FL_LANES : n;
}

static void add_rows(const fl_plan *plan, ptrdiff_t n, const void *x, fl_sum *sum) {
  fl_sum_add(sum,
             n == 1 ? fl_number_at(plan->dtype, x, 0) : plan->table->total[plan->dtype](n, 0, x));
}

static void run_rowwise(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, ptrdiff_t chunk,
                        rowwise_scratch *buffer, fl_part *parts) {
  const int in_planes = lies_in_planes(plan), rows_are_one = are_one(plan);
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  for (ptrdiff_t at = start, n; at < stop; at += n) {
    n = next_group(plan, in_planes, at, stop);
    int64_t flags;
    if (picks(plan))
      flags = run_own(plan, at, n, buffer);
    else if (rows_are_one && plan->classes <= LONG_ROW)
      flags = run_as_one(plan, at, n, buffer);
    else if (runs_along(plan))
      flags = run_along(plan, rows_are_one, at, n, buffer);
    else
      flags = run_across(plan, at, n, buffer);
    if (plan->mode == FL_LOSS || plan->mode == FL_LOSS_GRAD)
      store(plan, &plan->out[0], at, n, buffer->loss);
    parts[(at - start) / chunk].flags |= flags;
    const ptrdiff_t step = has_long_rows(plan) ? 1 : group_rows(plan);
    for (ptrdiff_t i = 0; i < n; i += step) {
      fl_part *part = &parts[(at - start + i) / chunk];
      add_rows(plan, smaller(step, n - i), (const char *)buffer->loss + i * size, &part->sums[0]);
      add_rows(plan, smaller(step, n - i), (const char *)buffer->w + i * size, &part->sums[1]);
    }
  }
  for (int i = 0; i < outputs(plan->mode); i++)
    if (plan->out[i].streamed) finish_streams();
}

/* ---- the interface ---- */

ptrdiff_t fl_chunk(const fl_plan *plan) {
  /* Of MANY chunks each of 16 threads gets a fair share; FEW cost hardly anything. */
  enum { SMALLEST = 4 * FL_BLOCK, LARGEST = 16 * FL_BLOCK, FEW = 16, MANY = 64 };
  const ptrdiff_t fair = plan->size / (is_cheap(plan) ? FEW : MANY);
  ptrdiff_t unit = FL_BLOCK, classes = 1;
  ptrdiff_t least = smaller(larger(SMALLEST, fair), LARGEST) / FL_BLOCK;
  if (plan->rowwise) {
    unit = group_rows(plan), classes = larger(plan->classes, 1);
    least = larger(1, SMALLEST / 2 / (unit * classes));
    if (has_long_rows(plan)) { /* what is done once a row is done for several at once */
      const ptrdiff_t rows = smaller(FL_MAX_ROWS, ceil_div(plan->size, MANY / 2));
      unit = rows < FL_LANES ? larger(1, rows) : rows / FL_LANES * FL_LANES;
      least = ceil_div(SMALLEST, unit * classes);
    }
  }
  const ptrdiff_t most = ceil_div(LARGEST_CHUNK, unit * classes);
  return unit * larger(least, smaller(ceil_div(plan->size, unit * CHUNKS), most));
}

ptrdiff_t fl_chunks_at_once(const fl_plan *plan, ptrdiff_t chunk, ptrdiff_t count, int team) {
  if (!plan->rowwise || !has_long_rows(plan) || !lies_in_planes(plan)) return 1;
  const ptrdiff_t most = 4 * LARGEST_CHUNK / (chunk * plan->classes);
  return larger(1, smaller(FL_MAX_ROWS / chunk, smaller(most, count / team)));
}

/* Whether the memory takes longer than the arithmetic, so that it pays to write results past the
 * caches. Of long rows, those whose exponentials are kept, or which are zeros around a label; and
 * planes, which are written from the loop that forms them. */
static int is_bound_by_memory(const fl_plan *plan, int threads) {
  if (!plan->rowwise)
    return is_cheap(plan) || plan->mode != FL_SUM_GRAD || threads > STREAM_THREADS;
  if (plan->rowwise->accumulate[FL_PLANES][plan->target] && lies_in_planes(plan))
    return has_long_rows(plan);
  return plan->classes >= STREAM_CLASSES &&
         (picks(plan) || (plan->rowwise->scan[FL_ALONG] && runs_along(plan)));
}

int fl_may_stream(const fl_plan *plan, int which) {
  const fl_output *to = &plan->out[which];
  if (to->data == plan->y.data || to->data == plan->z.data) return 0;
  if (plan->weighted && to->data == plan->w.data) return 0;
  if (!plan->rowwise) return to->direct && (uintptr_t)to->data % 16 == 0;
  return which >= first_rate(plan) && to->native &&
         (lies_in_planes(plan) || plan->out_class[which] == (ptrdiff_t)item_size(plan));
}

void fl_set_streams(fl_plan *plan, int threads) {
  const ptrdiff_t elements = plan->size * (plan->rowwise ? plan->classes : 1);
  const int large = elements * (ptrdiff_t)item_size(plan) >= STREAM_BYTES;
  for (int i = 0; i < outputs(plan->mode); i++)
    plan->out[i].streamed = large && is_bound_by_memory(plan, threads) && fl_may_stream(plan, i);
}

void fl_run(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, ptrdiff_t chunk, void *scratch,
            fl_part *parts) {
  if (plan->rowwise)
    run_rowwise(plan, start, stop, chunk, scratch, parts);
  else
    parts->flags |= run_pointwise(plan, start, stop, scratch, parts->sums);
}

void fl_run_weights(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                    fl_sum *sum) {
  const ptrdiff_t step = plan->rowwise ? FL_MAX_ROWS : FL_BLOCK;
  reader from = plan->rowwise ? (reader){0} : new_reader(plan, &plan->w, FL_BLOCK, scratch);
  from.asks = 0; /* adding up is cheap */
  for (ptrdiff_t at = start; at < stop; at += step) {
    const ptrdiff_t n = smaller(step, stop - at);
    ptrdiff_t ahead = 0;
    const void *w;
    if (plan->rowwise) {
      rowwise_scratch *rows = scratch;
      if (plan->target != FL_DENSE) (void)load_labels(plan, at, n, rows->wide_label, rows->label);
      load_row_weights(plan, at, n, rows->wide_label, rows->w);
      w = rows->w;
    } else {
      w = read_block(plan, &from, at, n, &ahead);
    }
    const ptrdiff_t rest = plan->rowwise ? 0 : n % FL_LANES; /* a sum of its own, as in kernels */
    fl_sum_add(sum, plan->table->total[plan->dtype](n - rest, ahead, w));
    if (rest)
      fl_sum_add(sum, plan->table->total[plan->dtype](
                          rest, 0, (const char *)w + (size_t)(n - rest) * item_size(plan)));
  }
}
