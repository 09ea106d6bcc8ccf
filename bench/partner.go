package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// A partner is another process that does its side of a case once for each line
// that it gets, and then answers with a line. Neither side has the other's
// threads, memory or settings of the processor.
type partner struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Scanner
	greeting string // the line that says it is ready
}

func startPartner(cmd *exec.Cmd) (*partner, error) {
	p := &partner{cmd: cmd}
	cmd.Stderr = os.Stderr
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if !p.out.Scan() {
		return nil, fmt.Errorf("%s did not start: %w", cmd.Path, cmd.Wait())
	}
	p.greeting = p.out.Text()
	return p, nil
}

// work does it once: a side.
func (p *partner) work(context.Context) error {
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		return err
	}
	if !p.out.Scan() {
		return fmt.Errorf("%s ended: %w", p.cmd.Path, p.cmd.Wait())
	}
	return nil
}

// peak is the most memory that the process had resident, in MiB.
func (p *partner) peak() string { return peakOf(strconv.Itoa(p.cmd.Process.Pid)) }

func (p *partner) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// serve is what a partner does that is this program.
func serve(ctx context.Context, work side) error {
	fmt.Println("ready")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		if err := work(ctx); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return nil
}
