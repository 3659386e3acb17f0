//go:build !zinit_fault

package fault

// Here marks a point.
func Here(string) {}
