package cli

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestReorder(t *testing.T) {
	app := &cli.App{
		Flags: []cli.Flag{&cli.StringFlag{Name: "log"}},
		Commands: []*cli.Command{{
			Name:  "inject",
			Flags: []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}}, &cli.BoolFlag{Name: "force"}, &cli.StringSliceFlag{Name: "target"}},
		}, {
			Name:        "completion",
			Subcommands: []*cli.Command{{Name: "bash", Flags: []cli.Flag{&cli.BoolFlag{Name: "quiet"}}}},
		}},
	}
	cases := []struct{ name, in, want string }{
		{"argument first", "inject m.onnx -o out", "inject -o out -- m.onnx"},
		{"bool takes no value", "inject --force m.onnx -o out", "inject --force -o out -- m.onnx"},
		{"equals", "inject m.onnx --output=out a", "inject --output=out -- m.onnx a"},
		{"repeated", "inject --target a m --target b", "inject --target a --target b -- m"},
		{"double dash", "inject -o out -- --force", "inject -o out -- --force"},
		{"dash is an argument", "inject - -o out", "inject -o out -- -"},
		{"unknown flag stays a flag", "inject m --bogus x", "inject --bogus -- m x"},
		{"value that looks like a flag", "inject m -o --force", "inject -o --force -- m"},
		{"outer flags", "--log l inject m -o out", "--log l inject -o out -- m"},
		{"subcommand", "completion bash x --quiet", "completion bash --quiet -- x"},
		{"unknown command", "nope m -o out", "-o -- nope m out"},
		{"none", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(reorder(app, append([]string{"bonnx"}, strings.Fields(c.in)...))[1:], " ")
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
