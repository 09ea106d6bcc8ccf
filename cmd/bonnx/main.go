// Command bonnx fine-tunes ONNX files with Bone and Bat adapters.
package main

import (
	"os"

	"github.com/bonnx/bonnx/internal/cli"
)

func main() { os.Exit(int(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))) }
