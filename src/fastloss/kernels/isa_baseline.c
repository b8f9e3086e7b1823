/* The kernels for the instruction set every processor of the architecture has. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "fastloss.h"
#include "readers.h"
#include "vecmath.h"

#define ISA baseline
#define VECTOR_BYTES 16
#include "instantiate.h"
