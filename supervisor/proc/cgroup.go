package proc

// Group is the control group of one incarnation.
type Group struct {
	path string
}

// Path is its folder.
func (g *Group) Path() string { return g.path }

func (g *Group) cloneInto() bool { return true }
