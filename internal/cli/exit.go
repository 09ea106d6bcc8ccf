package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/bonnx/bonnx"
)

// Code is a process's exit status.
type Code int

// The exit statuses, as every command's help lists them.
const (
	Done        Code = 0
	Failed      Code = 1
	Usage       Code = 2
	Invalid     Code = 3 // model invalid, unsupported, or not the adapter's base
	NoMatch     Code = 4 // nothing matched
	Interrupted Code = 130
)

const exitHelp = `
EXIT STATUS: 0 done, 1 failed, 2 usage, 3 model invalid, unsupported or not the adapter's base,
   4 nothing matched, 130 interrupted (a checkpoint is saved first, where there is a directory for it)`

// usageError is a mistake in how bonnx was called.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// exitCode is the one place where errors become statuses.
func exitCode(err error) Code {
	var usage *usageError
	var none *bonnx.NoMatchError
	switch {
	case err == nil:
		return Done
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.As(err, &usage):
		return Usage
	case errors.As(err, &none):
		return NoMatch
	case bonnx.IsInvalidModel(err):
		return Invalid
	}
	return Failed
}
