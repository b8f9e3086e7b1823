/* exp of a vector of 512 bits, whose registers hold tables: x = (n + j/16) ln 2 + r, and
 * exp(x) = 2^n 2^(j/16) exp(r), where r is so small that a short polynomial does. 2^(j/16) is a
 * number of one table, `power`, and `left` of another what its rounding left over, as a part of it.
 * Smaller vectors have no permutation of so many numbers. Of numbers x <= 0; NaN stays.
 *
 * Rounding to a multiple of 1/16 leaves j in the low bits, which alone a permutation looks at. */
#ifndef FASTLOSS_EXPTABLE_H
#define FASTLOSS_EXPTABLE_H

#include "vecmath.h"

#define SIXTEEN(x)                                      \
  {x##0, x##1, x##2,  x##3,  x##4,  x##5,  x##6,  x##7, \
   x##8, x##9, x##10, x##11, x##12, x##13, x##14, x##15}

/* Of 16 floats. */
VECMATH void exp_by_table_f32(const float *x_, float *to) {
  const float table[] = SIXTEEN(EXP_TABLE_F32_), left_over[] = SIXTEEN(EXP_LEFT_F32_);
  const __m512 round = _mm512_set1_ps(ROUND_F32 / 16), high = _mm512_set1_ps(LN2_F32_HI);
  const __m512 x = _mm512_max_ps(_mm512_set1_ps(-104), _mm512_loadu_ps(x_));
  const __m512 t = _mm512_fmadd_ps(x, _mm512_set1_ps((float)LOG2E), round);
  const __m512 k = _mm512_sub_ps(t, round);
  const __m512 r = _mm512_fnmadd_ps(k, _mm512_set1_ps(LN2_F32_LO), _mm512_fnmadd_ps(k, high, x));
  const __m512i j = _mm512_castps_si512(t);
  const __m512 power = _mm512_permutexvar_ps(j, _mm512_loadu_ps(table));
  const __m512 left = _mm512_permutexvar_ps(j, _mm512_loadu_ps(left_over));
  const __m512 q =
      _mm512_fmadd_ps(_mm512_set1_ps(EXP_STEP_F32_1), r, _mm512_set1_ps(EXP_STEP_F32_0));
  const __m512 p = _mm512_fmadd_ps(q, _mm512_mul_ps(r, r), _mm512_add_ps(r, left));
  _mm512_storeu_ps(to, _mm512_scalef_ps(_mm512_fmadd_ps(power, p, power), k));
}

VECMATH __m512d sixteen_f64(const double *table, __m512i j) {
  return _mm512_permutex2var_pd(_mm512_loadu_pd(table), j, _mm512_loadu_pd(table + 8));
}

/* Of 8 doubles. */
VECMATH void exp_by_table_f64(const double *x_, double *to) {
  const double table[] = SIXTEEN(EXP_TABLE_F64_), left_over[] = SIXTEEN(EXP_LEFT_F64_);
  const __m512d round = _mm512_set1_pd(ROUND_F64 / 16), high = _mm512_set1_pd(LN2_F64_HI);
  const __m512d x = _mm512_max_pd(_mm512_set1_pd(-746), _mm512_loadu_pd(x_));
  const __m512d t = _mm512_fmadd_pd(x, _mm512_set1_pd(LOG2E), round);
  const __m512d k = _mm512_sub_pd(t, round);
  const __m512d r = _mm512_fnmadd_pd(k, _mm512_set1_pd(LN2_F64_LO), _mm512_fnmadd_pd(k, high, x));
  const __m512d r2 = _mm512_mul_pd(r, r);
  const __m512i j = _mm512_castpd_si512(t);
  const __m512d power = sixteen_f64(table, j), left = sixteen_f64(left_over, j);
  __m512d q = _mm512_fmadd_pd(_mm512_set1_pd(EXP_STEP_F64_4), r, _mm512_set1_pd(EXP_STEP_F64_3));
  q = _mm512_fmadd_pd(
      q, r2, _mm512_fmadd_pd(_mm512_set1_pd(EXP_STEP_F64_2), r, _mm512_set1_pd(EXP_STEP_F64_1)));
  q = _mm512_fmadd_pd(q, r, _mm512_set1_pd(EXP_STEP_F64_0));
  const __m512d p = _mm512_fmadd_pd(q, r2, _mm512_add_pd(r, left));
  _mm512_storeu_pd(to, _mm512_scalef_pd(_mm512_fmadd_pd(power, p, power), k));
}

#undef SIXTEEN
#endif
