#include "float.h"
#include "float-steps.h"

#include <emmintrin.h>

u32 sse_double_steps(u32 iterations) { return double_steps(iterations); }

u32 sse_integer_steps(u32 iterations) {
    __m128i a = _mm_set_epi32(1, 2, 3, 4), b = _mm_set_epi32(5, 6, 7, 8);
    const __m128i step = _mm_set1_epi32(0x01234567);
    while (iterations--) {
        a = _mm_add_epi32(a, b);
        b = _mm_xor_si128(b, _mm_slli_epi32(a, 5));
        a = _mm_sub_epi16(_mm_shuffle_epi32(a, 0x39), b);
        b = _mm_and_si128(_mm_add_epi32(b, step), _mm_unpacklo_epi8(a, b));
    }
    a = _mm_xor_si128(a, b);
    u32 lanes[4];
    _mm_storeu_si128((__m128i *)lanes, a);
    return lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3];
}
