package train

import "context"

func (l *loop) chooseRate(context.Context) error { return nil }
