//go:build noasm || !(amd64 || arm64)

package kernel

import "github.com/bonnx/bonnx/internal/cpu"

func platformWidenings(cpu.Features) widenings { return widenings{} }

// platformPanels: none.
func platformPanels(cpu.Features) panelWidenings { return panelWidenings{} }
