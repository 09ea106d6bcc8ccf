package ops

// trainingTable lists the optimizers that files may hold.
func trainingTable() []Entry {
	return []Entry{
		{Domain: previewTraining, Name: "Adagrad", MinIn: 5, MaxIn: -1, MaxOut: -1, Strict: Accurate, New: newAdagrad},
		{Domain: previewTraining, Name: "Adam", MinIn: 6, MaxIn: -1, MaxOut: -1, Strict: Accurate, New: newAdam},
		{Domain: previewTraining, Name: "Momentum", MinIn: 5, MaxIn: -1, MaxOut: -1, Strict: Accurate, New: newMomentum},
	}
}
