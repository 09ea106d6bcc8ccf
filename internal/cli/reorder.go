package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder puts a command's flags before its arguments, because urfave/cli v2
// stops reading flags at the first argument. Which flags take a value comes
// from the command's own table. "--" ends the flags. Unknown flags stay where
// flags go, for the library to complain about.
func reorder(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	out := []string{args[0]}
	rest := args[1:]
	flags := valued(app.Flags)
	commands := app.Commands
	for {
		at := firstArgument(rest, flags)
		if at == len(rest) || rest[at] == "--" {
			break
		}
		cmd := find(commands, rest[at])
		if cmd == nil {
			break
		}
		// Flags of the outer level stay before the command's name.
		out = append(out, rest[:at+1]...)
		rest = rest[at+1:]
		flags, commands = valued(cmd.Flags), cmd.Subcommands
	}
	var opts, plain []string
	for i := 0; i < len(rest); i++ {
		a := rest[i]
		if a == "--" {
			plain = append(plain, rest[i+1:]...)
			break
		}
		if !isFlag(a) {
			plain = append(plain, a)
			continue
		}
		opts = append(opts, a)
		if flags[flagName(a)] && !strings.Contains(a, "=") && i+1 < len(rest) {
			i++
			opts = append(opts, rest[i])
		}
	}
	out = append(out, opts...)
	if len(plain) > 0 {
		out = append(append(out, "--"), plain...)
	}
	return out
}

func isFlag(a string) bool { return len(a) > 1 && a[0] == '-' }

func flagName(a string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
	return name
}

// firstArgument is the index of the first word that is neither a flag nor a
// flag's value.
func firstArgument(args []string, flags map[string]bool) int {
	for i := 0; i < len(args); i++ {
		if args[i] == "--" || !isFlag(args[i]) {
			return i
		}
		if flags[flagName(args[i])] && !strings.Contains(args[i], "=") {
			i++
		}
	}
	return len(args)
}

// valued tells which flag names take a value.
func valued(flags []cli.Flag) map[string]bool {
	m := map[string]bool{}
	for _, f := range flags {
		takes := true
		if d, ok := f.(cli.DocGenerationFlag); ok {
			takes = d.TakesValue()
		}
		for _, n := range f.Names() {
			m[n] = takes
		}
	}
	return m
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}
