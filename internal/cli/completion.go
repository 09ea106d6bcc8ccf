package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completeWord, as the first argument, makes the program print what may stand
// for the last of the words that follow, one a line; nothing where that is a
// file.
const completeWord = "__complete"

// completions are scripts that ask the program itself.
var completions = map[string]string{
	"bash": `_bonnx() {
  local cur="${COMP_WORDS[COMP_CWORD]}" IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$cur" 2>/dev/null))
  [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _bonnx bonnx
`,
	"zsh": `#compdef bonnx
_bonnx() {
  local -a found
  found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then compadd -a found; else _files; fi
}
if [[ "${funcstack[1]}" == _bonnx ]]; then _bonnx "$@"; else compdef _bonnx bonnx; fi
`,
	"fish": `function __bonnx_complete
  set -l words (commandline -opc)
  $words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c bonnx -a '(__bonnx_complete)'
`,
}

// flagValues are the values of flags that have few.
var flagValues = map[string][]string{
	"method":    {"bone", "bat", "miss", "miss-mini", "lora"},
	"init":      {"zero", "random"},
	"task":      {"causal-lm", "classification", "regression", "custom"},
	"tokenizer": {"bytes"},
	"schedule":  {"constant", "linear", "cosine"},
	"optimizer": {"adamw", "sgd"},
	"format":    {"npz", "peft"},
	"target":    {"all-linear"},
}

// valuesOf are the values of a command's flag; those of --form differ.
func valuesOf(command, flag string) []string {
	switch {
	case flag == "form" && command == "export":
		return []string{"merged", "activation", "weight", "train-step"}
	case flag == "form":
		return []string{"activation", "weight"}
	}
	return slices.Clone(flagValues[flag])
}

// complete lists what may stand for the last of words.
func complete(app *cli.App, words []string) []string {
	if len(words) == 0 {
		return nil
	}
	before, cur := words[:len(words)-1], words[len(words)-1]
	var all []string
	at := firstArgument(before, valued(app.Flags))
	switch {
	case at == len(before):
		all = append(flagNames(app.Flags), commandNames(app)...)
	case slices.Contains(before, "--"):
	default:
		if c := find(app.Commands, before[at]); c != nil {
			all = completeCommand(c, before[at+1:], cur)
		}
	}
	return slices.DeleteFunc(all, func(s string) bool {
		return !strings.HasPrefix(s, cur) || cur == "" && strings.HasPrefix(s, "-")
	})
}

// completeCommand lists flags, values of the flag before, or a command's words.
func completeCommand(c *cli.Command, before []string, cur string) []string {
	if n := len(before); n > 0 && isFlag(before[n-1]) {
		name := flagName(before[n-1])
		if valued(c.Flags)[name] {
			return valuesOf(c.Name, name)
		}
	}
	if isFlag(cur) || cur == "-" {
		return flagNames(c.Flags)
	}
	if c.Name == "completion" {
		return []string{"bash", "fish", "zsh"}
	}
	return nil
}

func flagNames(flags []cli.Flag) []string {
	names := []string{"--help"}
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) > 1 && n != "help" {
				names = append(names, "--"+n)
			}
		}
	}
	return names
}

func commandNames(app *cli.App) []string {
	var names []string
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	return names
}

func (e *env) completionCommand() *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print a completion script for bash, zsh or fish",
		ArgsUsage:   "SHELL",
		Description: `EXAMPLE: source <(bonnx completion bash)`,
		Action: func(c *cli.Context) error {
			a, err := args(c, "SHELL")
			if err != nil {
				return err
			}
			s, ok := completions[a[0]]
			if !ok {
				return usagef("shell %q is not one of bash, zsh, fish", a[0])
			}
			return e.printf("%s", s)
		},
	}
}
