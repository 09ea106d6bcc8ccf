// Command generate writes the assembly of package kernel into the folder that
// is its argument, as go generate does. It has no dependency, and takes none
// of the package's own code, so the twins in plain Go stay an independent
// reference.
package main

import (
	"fmt"
	"os"
)

// A file is one assembly file, the Go file that declares its functions, and the
// Go file with rows of a table of them, as far as there is something in each.
type file struct {
	name  string // without the system's suffix
	arch  string
	write func(a *asm)
}

var files = []file{
	{"gemm", "amd64", gemmAMD64},
	{"pack", "amd64", packAMD64},
	{"vec", "amd64", vecAMD64},
	{"narrow", "amd64", narrowAMD64},
	{"panel", "amd64", panelAMD64},
	{"gemm", "arm64", gemmARM64},
	{"pack", "arm64", packARM64},
	{"vec", "arm64", vecARM64},
	{"narrow", "arm64", narrowARM64},
	{"vec", "other", vecOther},
}

func main() {
	dir := os.Args[1]
	for _, f := range files {
		a := &asm{}
		f.write(a)
		if err := a.save(dir, f.name, f.arch); err != nil {
			fmt.Fprintln(os.Stderr, "generate:", err)
			os.Exit(1)
		}
	}
}
