package rewrite

import (
	"github.com/bonnx/bonnx/ir"
)

// Convert gives adapters, those named or all, the form that o says, or makes
// their blocks inputs or not, and keeps the blocks. SkipUnfit does not count.
// The form activation for a bat is an error; below a bat the weight form stays.
func Convert(m *ir.Model, o Options, names ...string) error {
	return edit(m, func(c *ir.Model) error {
		if _, err := chosen(c, names); err != nil {
			return err
		}
		list, _, err := takeOff(c)
		if err != nil {
			return err
		}
		converted, _ := list.split(names)
		for _, a := range converted {
			if err := a.as(o); err != nil {
				return err
			}
		}
		return list.putOn(c)
	})
}
