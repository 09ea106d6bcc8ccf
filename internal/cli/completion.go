package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// completions are scripts that ask the program itself what may follow.
var completions = map[string]string{
	"bash": `_bonnx() {
  local cur words
  cur="${COMP_WORDS[COMP_CWORD]}"
  words="$("${COMP_WORDS[@]:0:COMP_CWORD}" ${cur:+"$cur"} --generate-bash-completion 2>/dev/null)"
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _bonnx bonnx
`,
	"zsh": `#compdef bonnx
_bonnx() {
  local -a opts
  opts=("${(@f)$(${words[@]:0:$#words-1} ${words[$CURRENT]} --generate-bash-completion 2>/dev/null)}")
  if [[ -n "${opts[1]}" ]]; then _describe 'values' opts; else _files; fi
}
compdef _bonnx bonnx
`,
	"fish": `function __bonnx_complete
  set -l words (commandline -opc) (commandline -ct)
  $words --generate-bash-completion 2>/dev/null
end
complete -c bonnx -a '(__bonnx_complete)'
`,
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
			return e.printf("%s", strings.TrimLeft(s, "\n"))
		},
	}
}
