package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

// version is set by the Makefile for releases.
var version = "0.1.0-dev"

// revision is set by the Makefile, for builds in which Go records none.
var revision string

// versionJSON is what version --json prints.
type versionJSON struct {
	Version  string   `json:"version"`
	Commit   string   `json:"commit"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	CPU      []string `json:"cpu_features"`
	Kernels  string   `json:"kernels"`
}

func (e *env) versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "tell version, commit, Go, processor features and the kernels chosen",
		Description: `EXAMPLE: bonnx version --json`,
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := args(c); err != nil {
				return err
			}
			kernels, features := bonnx.Kernels()
			v := versionJSON{version, commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, features, kernels}
			if c.Bool("json") {
				return e.printJSON(v)
			}
			return e.printf("bonnx %s (%s)\n%s %s\ncpu: %s\nkernels: %s\n", v.Version, v.Commit, v.Go, v.Platform, strings.Join(v.CPU, " "), v.Kernels)
		},
	}
}

// commit is the revision that Go recorded when it built the program.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if rev == "" {
		rev = revision
	}
	if rev == "" {
		return "unknown"
	}
	return fmt.Sprintf("%.12s%s", rev, dirty)
}
