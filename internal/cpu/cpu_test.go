package cpu_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/cpu"
)

func TestLimit(t *testing.T) {
	all := cpu.Features{AVX2: true, AVX512: true, NEON: true}
	old := cpu.Features{AVX2: true}
	for _, c := range []struct {
		f     cpu.Features
		limit string
		want  cpu.Features
		names string
	}{
		{all, "generic", cpu.Features{}, "generic"},
		{all, "GENERIC ", cpu.Features{}, "generic"},
		{all, "avx2", cpu.Features{AVX2: true}, "avx2+fma"},
		{all, "avx512", cpu.Features{AVX2: true, AVX512: true}, "avx2+fma avx512"},
		{all, "neon", cpu.Features{NEON: true}, "neon"},
		{old, "avx512", old, "avx2+fma"},
		{old, "neon", cpu.Features{}, "generic"},
		{all, "", all, "avx2+fma avx512 neon"},
		{all, "mmx", all, "avx2+fma avx512 neon"},
	} {
		got := c.f.Limit(c.limit)
		if got != c.want || got.String() != c.names {
			t.Errorf("%+v limited to %q: got %+v (%s), want %+v (%s)", c.f, c.limit, got, got, c.want, c.names)
		}
	}
}

func TestDetectObeysEnvironment(t *testing.T) {
	t.Setenv(cpu.EnvVar, "generic")
	if got := cpu.Detect(); got != (cpu.Features{}) {
		t.Errorf("Detect under generic = %v, want nothing", got)
	}
	t.Setenv(cpu.EnvVar, "")
	free := cpu.Detect()
	if free.AVX512 && !free.AVX2 {
		t.Errorf("Detect = %+v: AVX-512 without AVX2", free)
	}
	t.Setenv(cpu.EnvVar, "avx2")
	if got := cpu.Detect(); got != free.Limit("avx2") {
		t.Errorf("Detect under avx2 = %+v, want %+v", got, free.Limit("avx2"))
	}
}
