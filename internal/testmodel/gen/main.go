// Command gen makes what the demonstration needs and what is committed for it.
//
//	gen text stories|sealog BYTES [SEED]   writes text to standard output
//	gen model PATH                         pre-trains the demonstration's model (minutes)
//	gen sample MODEL PROMPT                continues a prompt with a byte model
//	gen size NAME DIR                      writes a model of true size and data for it
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/internal/testmodel/text"
)

var errUsage = errors.New("usage")

// commands is what gen can do; usage is what follows the name.
var commands = []struct {
	name, usage string
	run         func(args []string, out io.Writer) error
}{
	{"text", "stories|sealog BYTES [SEED]", writeText},
	{"model", "PATH", writeModel},
	{"sample", "MODEL PROMPT", writeSample},
	{"size", "NAME DIR", writeSize},
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	var usage []string
	for _, c := range commands {
		usage = append(usage, "gen "+c.name+" "+c.usage)
		if len(args) > 0 && args[0] == c.name {
			err := c.run(args[1:], out)
			if errors.Is(err, errUsage) {
				return fmt.Errorf("usage: gen %s %s", c.name, c.usage)
			}
			return err
		}
	}
	return fmt.Errorf("usage: %s", strings.Join(usage, " | "))
}

// sources are the texts by name.
var sources = map[string]func(seed uint64, size int) string{
	"stories": text.Stories,
	"sealog":  text.SeaLog,
}

func writeText(args []string, out io.Writer) error {
	if len(args) < 2 || len(args) > 3 || sources[args[0]] == nil {
		return errUsage
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return errUsage
	}
	seed := uint64(1)
	if len(args) == 3 {
		if seed, err = strconv.ParseUint(args[2], 10, 64); err != nil {
			return errUsage
		}
	}
	_, err = io.WriteString(out, sources[args[0]](seed, size))
	return err
}
