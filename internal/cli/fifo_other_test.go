//go:build !unix

package cli_test

import "errors"

const haveFIFO = false

func makeFIFO(string) error { return errors.New("there are no named pipes here") }
