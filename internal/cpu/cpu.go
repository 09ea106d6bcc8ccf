// Package cpu says which instruction sets the kernels may use here.
package cpu

import (
	"os"
	"strings"

	"golang.org/x/sys/cpu"
)

// EnvVar names the environment variable that limits what Detect reports, so
// that one machine can run every path: see Features.Limit for its values.
const EnvVar = "BONNX_CPU"

// Features are the instruction sets that a kernel may rely on. Each is true
// only when all of its parts are there and the operating system saves the
// registers.
type Features struct {
	AVX2   bool // AVX2 and FMA
	AVX512 bool // AVX-512 F, BW, VL and DQ, and AVX2 and FMA too
	NEON   bool // Advanced SIMD of arm64
}

// Detect asks the CPU, then applies the limit in the environment variable
// BONNX_CPU, if set.
func Detect() Features {
	avx2 := cpu.X86.HasAVX2 && cpu.X86.HasFMA
	f := Features{
		AVX2:   avx2,
		AVX512: avx2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ,
		NEON:   cpu.ARM64.HasASIMD,
	}
	if limit, set := os.LookupEnv(EnvVar); set {
		return f.Limit(limit)
	}
	return f
}

// limits maps what a limit may be called to the most it lets through.
var limits = map[string]Features{
	"generic": {},
	"avx2":    {AVX2: true},
	"avx512":  {AVX2: true, AVX512: true},
	"neon":    {NEON: true},
}

// Limit returns f without what name does not let through: "generic" (nothing),
// "avx2", "avx512" (implies avx2) or "neon", in any case. It never adds a
// feature. An empty or unknown name changes nothing.
func (f Features) Limit(name string) Features {
	most, known := limits[strings.ToLower(strings.TrimSpace(name))]
	if !known {
		return f
	}
	return Features{
		AVX2:   f.AVX2 && most.AVX2,
		AVX512: f.AVX512 && most.AVX512,
		NEON:   f.NEON && most.NEON,
	}
}

// Names lists the features that are present, for a version report; "generic"
// alone when there is none.
func (f Features) Names() []string {
	var names []string
	for _, row := range []struct {
		has  bool
		name string
	}{{f.AVX2, "avx2+fma"}, {f.AVX512, "avx512"}, {f.NEON, "neon"}} {
		if row.has {
			names = append(names, row.name)
		}
	}
	if names == nil {
		return []string{"generic"}
	}
	return names
}

// String joins Names with spaces.
func (f Features) String() string { return strings.Join(f.Names(), " ") }
