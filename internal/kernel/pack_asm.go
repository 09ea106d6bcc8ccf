//go:build !noasm && (amd64 || arm64)

package kernel

// A turnGroups is an assembly function that transposes at most rows rows, in
// groups of four, for k of at least 4; a turnAddGroups one that adds, too.
type (
	turnGroups struct {
		rows int
		f    func(k, groups int, src *float32, lds int, dst *float32, ldd int)
	}
	turnAddGroups struct {
		rows int
		f    func(k, groups int, src *float32, lds int, add *float32, lda int, dst *float32, ldd int)
	}
)

// turnWith is turnRows by assembly, but for the last rows of no group and for
// few columns.
func turnWith(plain turnGroups, plus turnAddGroups) func(
	k, n int, src []float32, lds int, add []float32, lda int, dst []float32, ldd int) {
	return func(k, n int, src []float32, lds int, add []float32, lda int, dst []float32, ldd int) {
		c, most := 0, plain.rows
		if add != nil {
			most = plus.rows
		}
		for k >= 4 && n-c >= 4 {
			rows := min(most, n-c) &^ 3
			_, _ = src[(c+rows-1)*lds+k-1], dst[(k-1)*ldd+c+rows-1]
			if add == nil {
				plain.f(k, rows/4, &src[c*lds], lds, &dst[c], ldd)
			} else {
				_ = add[(c+rows-1)*lda+k-1]
				plus.f(k, rows/4, &src[c*lds], lds, &add[c*lda], lda, &dst[c], ldd)
			}
			c += rows
		}
		if c == n {
			return
		}
		turnRows(k, n-c, src[c*lds:], lds, from(add, c*lda), lda, dst[c:], ldd)
	}
}
