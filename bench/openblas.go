package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

typedef void (*sgemm_fn)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
static sgemm_fn sgemm;
static void (*threads)(int);
static const char *(*config)(void);

// The library is opened when it runs: nobody needs it to build.
static const char *open_blas(const char *path) {
	void *h = dlopen(path, RTLD_NOW);
	if (!h) return dlerror();
	sgemm = (sgemm_fn)dlsym(h, "cblas_sgemm");
	threads = (void (*)(int))dlsym(h, "openblas_set_num_threads");
	config = (const char *(*)(void))dlsym(h, "openblas_get_config");
	return sgemm && threads && config ? NULL : "no OpenBLAS";
}
static void set_threads(int n) { threads(n); }
static const char *get_config(void) { return config(); }
static void run(int m, int n, int k, const float *a, const float *b, float *c) {
	sgemm(101, 111, 111, m, n, k, 1, a, k, b, n, 0, c, n);
}
*/
import "C"

import (
	"errors"
	"os"
	"slices"
	"strings"
	"unsafe"

	"github.com/bonnx/bonnx/internal/kernel"
)

// openBLAS loads OpenBLAS, with the kernels that suit the processor: by itself
// it does not know newer ones.
func openBLAS(path string) error {
	for _, v := range append(blasKernels(), "OPENBLAS_THREAD_TIMEOUT=20") { // threads sleep soon after a product
		name, value, _ := strings.Cut(v, "=")
		os.Setenv(name, value)
	}
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	if msg := C.open_blas(p); msg != nil {
		return errors.New(C.GoString(msg))
	}
	return nil
}

// blasKernels are the variables that have OpenBLAS choose the kernels that suit
// the processor.
func blasKernels() []string {
	if slices.Contains(kernel.Features(), "avx512") {
		return []string{"OPENBLAS_CORETYPE=SKYLAKEX", "OPENBLAS_L2_SIZE=1024"}
	}
	return nil
}

// blasConfig is how OpenBLAS was built, and which kernels it was told to use.
func blasConfig() string {
	s := strings.TrimSpace(C.GoString(C.get_config()))
	if core := os.Getenv("OPENBLAS_CORETYPE"); core != "" {
		s += ", with OPENBLAS_CORETYPE=" + core
	}
	return s
}

func blasThreads(n int) { C.set_threads(C.int(n)) }

// blasGemm is c (m,n) = a (m,k) b (k,n).
func blasGemm(m, n, k int, a, b, c []float32) {
	C.run(C.int(m), C.int(n), C.int(k), (*C.float)(&a[0]), (*C.float)(&b[0]), (*C.float)(&c[0]))
}
