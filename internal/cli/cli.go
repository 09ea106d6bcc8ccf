// Package cli is bonnx's command line: flags in, results on stdout, talk on
// stderr, exit statuses out. All that it does it does through package bonnx.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// env is one call of the program: where it reads and writes.
type env struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// garbage is how much may lie on the heap before it is collected, in percent of
// what is in use. Little: weights and activations hold no pointers, so that
// collecting costs next to nothing, and Go's 100 would let the packing of
// weights double a process's memory. Who sets GOGC is asked no further.
const garbage = 20

// Main runs bonnx on args (the program's name first) and returns the exit
// status.
func Main(args []string, in io.Reader, out, errw io.Writer) Code {
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	e := &env{in, out, errw}
	app := newApp(e)
	if len(args) > 1 && args[1] == completeWord {
		for _, s := range complete(app, args[2:]) {
			_, _ = fmt.Fprintln(out, s)
		}
		return Done
	}
	err := app.RunContext(ctx, reorder(app, customary(args)))
	if err != nil {
		_, _ = fmt.Fprintf(errw, "bonnx: %s\n", oneLine(err))
	}
	return exitCode(err)
}

// customary takes what people try first: help, help COMMAND, --version.
func customary(args []string) []string {
	switch {
	case len(args) < 2:
	case args[1] == "help":
		return append(append([]string{args[0]}, args[2:]...), "--help")
	case args[1] == "--version":
		return append([]string{args[0], "version"}, args[2:]...)
	}
	return args
}

// oneLine joins an error's lines, and says in words that the user ended it.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	text := strings.ReplaceAll(strings.Join(lines, "; "), ".; ", ". ")
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	return text
}

// newApp is the table of commands.
func newApp(e *env) *cli.App {
	app := &cli.App{
		Name:                      "bonnx",
		Usage:                     "fine-tune ONNX files with Bone and Bat adapters",
		Writer:                    e.out,
		ErrWriter:                 e.err,
		DisableSliceFlagSeparator: true,
		HideVersion:               true,
		HideHelpCommand:           true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageFault,
		CommandNotFound:           nil,
		Commands: []*cli.Command{
			e.inspectCommand(), e.injectCommand(), e.trainCommand(), e.evalCommand(), e.runCommand(),
			e.mergeCommand(), e.stripCommand(), e.extractCommand(), e.applyCommand(), e.blendCommand(), e.convertCommand(), e.exportCommand(),
			e.compareCommand(), e.benchCommand(), e.completionCommand(), e.versionCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("there is no command %q; see bonnx --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		finish(c)
	}
	return app
}

// finish gives every command what all have in common.
func finish(c *cli.Command) {
	c.OnUsageError = usageFault
	c.HideHelpCommand = true
	if len(c.Subcommands) == 0 {
		c.Description = strings.TrimSpace(c.Description) + "\n" + exitHelp
	}
	for _, s := range c.Subcommands {
		finish(s)
	}
}

func usageFault(c *cli.Context, err error, _ bool) error {
	name := "bonnx"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != name {
		name += " " + c.Command.Name
	}
	return usagef("%v; see %s --help", err, name)
}

// args checks the number of arguments; names are for the message.
func args(c *cli.Context, names ...string) ([]string, error) {
	if c.NArg() != len(names) {
		return nil, usagef("%s takes %s; got %d arguments. See bonnx %s --help", c.Command.Name, strings.Join(names, " and "), c.NArg(), c.Command.Name)
	}
	return c.Args().Slice(), nil
}

// printf writes to stdout; an error there fails the command.
func (e *env) printf(format string, a ...any) error {
	_, err := fmt.Fprintf(e.out, format, a...)
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// say writes to stderr, where losing a line is no failure.
func (e *env) say(format string, a ...any) { _, _ = fmt.Fprintf(e.err, format+"\n", a...) }

var errNeedOutput = errors.New("-o OUT is required")
