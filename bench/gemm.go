package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
)

// sizes are the products m x n x k that are measured.
var sizes = [][3]int{{256, 256, 256}, {1024, 1024, 1024}, {2048, 2048, 2048}, {1024, 512, 1376}, {1024, 1376, 512}, {1024, 8192, 512},
	{1024, 512, 16}, {1, 4096, 4096}}

// products measures matrix products against gonum and OpenBLAS.
func products(ctx context.Context, p *page, o options, _ string) error {
	peers := []struct {
		name string
		gemm func(m, n, k int, a, b, c []float32)
	}{{"gonum", gonumGemm}}
	p.peer("gonum: v0.17.0, Sgemm in Go, which decides about threads by itself.")
	if err := openBLAS(o.openblas); err != nil {
		p.peer("OpenBLAS: not here (%v).", err)
	} else {
		p.peer("OpenBLAS: %s.", blasConfig())
		peers = append(peers, struct {
			name string
			gemm func(m, n, k int, a, b, c []float32)
		}{"OpenBLAS", blasGemm})
	}
	if peak := fmaPeak(); peak > 0 {
		p.peer("Peak of multiply-adds on one core, with the instructions that bonnx has here: %.0f GFLOP/s.", peak)
	}
	p.table("Matrix products, float32", "m x n x k", "threads", "against", "ratio", "bonnx GFLOP/s", "other GFLOP/s")
	for _, s := range sizes {
		for _, threads := range o.threads {
			for _, peer := range peers {
				if peer.name == "OpenBLAS" {
					blasThreads(threads)
				} else if threads != o.threads[len(o.threads)-1] {
					continue // gonum takes what threads it likes
				}
				if err := product(ctx, p, o, s, threads, peer.name, peer.gemm); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func product(ctx context.Context, p *page, o options, s [3]int, threads int, name string, gemm func(m, n, k int, a, b, c []float32)) error {
	m, n, k := s[0], s[1], s[2]
	a, b, c := numbers(m*k), numbers(k*n), make([]float32, m*n)
	if err := o.pin(threads); err != nil {
		return err
	}
	pool := par.New(threads)
	defer pool.Close()
	scratch := make([]float32, kernel.GemmScratch[float32](m, n, k))
	flops := 2 * float64(m) * float64(n) * float64(k)
	times := max(1, int(5e9/flops)) // some ten milliseconds each
	t, err := o.interleave(ctx, times, func(context.Context) error {
		kernel.Gemm(pool, false, false, m, n, k, 1, a, k, b, n, false, c, n, scratch)
		return nil
	}, func(context.Context) error {
		gemm(m, n, k, a, b, c)
		return nil
	})
	if err != nil {
		return err
	}
	p.row(fmt.Sprintf("%d x %d x %d", m, n, k), strconv.Itoa(threads), name, t.ratio(),
		gflops(flops, median(t.ours)), gflops(flops, median(t.theirs)))
	return nil
}

func numbers(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func gonumGemm(m, n, k int, a, b, c []float32) {
	gonum.Implementation{}.Sgemm(blas.NoTrans, blas.NoTrans, m, n, k, 1, a, k, b, n, 0, c, n)
}
