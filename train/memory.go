package train

func (l *loop) chooseBatchSize() error { return nil }
