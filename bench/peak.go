package main

/*
#if defined(__x86_64__)
#include <immintrin.h>

// Twelve chains of multiply-adds hide their latency of four cycles on two units.
#define FMA12(T, fma) \
	T s0 = x, s1 = x, s2 = x, s3 = x, s4 = x, s5 = x, s6 = x, s7 = x, s8 = x, s9 = x, s10 = x, s11 = x; \
	for (long i = 0; i < n; i++) { \
		s0 = fma(x, y, s0); s1 = fma(x, y, s1); s2 = fma(x, y, s2); s3 = fma(x, y, s3); \
		s4 = fma(x, y, s4); s5 = fma(x, y, s5); s6 = fma(x, y, s6); s7 = fma(x, y, s7); \
		s8 = fma(x, y, s8); s9 = fma(x, y, s9); s10 = fma(x, y, s10); s11 = fma(x, y, s11); \
		__asm__ volatile("" : "+x"(s0), "+x"(s1), "+x"(s2), "+x"(s3), "+x"(s4), "+x"(s5)); \
		__asm__ volatile("" : "+x"(s6), "+x"(s7), "+x"(s8), "+x"(s9), "+x"(s10), "+x"(s11)); \
	}

__attribute__((target("avx512f"))) static void fma512(long n) {
	__m512 x = _mm512_set1_ps(1.5f), y = _mm512_set1_ps(0.5f);
	FMA12(__m512, _mm512_fmadd_ps)
}
__attribute__((target("avx2,fma"))) static void fma256(long n) {
	__m256 x = _mm256_set1_ps(1.5f), y = _mm256_set1_ps(0.5f);
	FMA12(__m256, _mm256_fmadd_ps)
}
#else
static void fma512(long n) {}
static void fma256(long n) {}
#endif
*/
import "C"

import (
	"slices"
	"time"

	"github.com/bonnx/bonnx/internal/kernel"
)

// fmaPeak is the most float32 multiply-adds that a core does, in GFLOP/s, two a
// multiply-add: of chains that touch no memory. 0 where it is not known how.
func fmaPeak() float64 {
	const n, chains = 2_000_000, 12
	f, lanes := func() { C.fma512(n) }, 16
	switch features := kernel.Features(); {
	case slices.Contains(features, "avx512"):
	case slices.Contains(features, "avx2+fma"):
		f, lanes = func() { C.fma256(n) }, 8
	default:
		return 0
	}
	best := time.Hour
	for range 10 {
		at := time.Now()
		f()
		best = min(best, time.Since(at))
	}
	return float64(2*chains*lanes) * n / float64(best.Nanoseconds())
}
