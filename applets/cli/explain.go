package cli

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func whyCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "why", Category: categoryLook, Usage: "why a service is as it is, down to the root cause", ArgsUsage: "NAME...",
		Action: v.withClient(1, -1, func(_ *cli.Context, client *rpc.Client, given []string) error {
			chosen, err := v.expand(client, given)
			if err != nil {
				return err
			}
			code := exitCode(chosen.problem)
			var found []wire.Why
			for _, name := range chosen.names {
				why, err := client.Why(v.ctx, name)
				if isCode(err, wire.CodeNotFound) {
					v.complain(describe(v.explain(client, "explain", name, err)))
					code = worst(code, exitNoService)
					continue
				}
				if err != nil {
					return v.explain(client, "explain", name, err)
				}
				found = append(found, why)
			}
			if len(found) > 0 {
				_ = v.print(oneOrAll(chosen.single, found), chosen.names, func() string { return whyPages(found, v.out.style) })
			}
			return silent(code)
		}),
	}
}

func whyPages(found []wire.Why, st style) string {
	var pages []string
	for _, why := range found {
		pages = append(pages, whyPage(why, st))
	}
	return strings.Join(pages, "\n")
}

// whyPage draws a cause chain: the service, and below each line the cause of it.
func whyPage(why wire.Why, st style) string {
	var b strings.Builder
	for i, link := range why.Cause {
		if i > 0 {
			b.WriteString(strings.Repeat("   ", i-1) + "└─ ")
		}
		b.WriteString(st.symbol(link.State.State) + " " + st.paint(bold, link.Name) + " " + terminal.Escape(link.Text) + "\n")
	}
	if len(why.Cause) == 0 { // a server before ours
		b.WriteString(why.ASCII + "\n")
	}
	for _, more := range moreReasons(why) {
		b.WriteString("also: " + more + "\n")
	}
	if next := nextStep(why); next != "" {
		b.WriteString(st.paint(dim, "next: "+next) + "\n")
	}
	return b.String()
}

// moreReasons are the obstacles that the chain, which follows one, does not name.
func moreReasons(why wire.Why) []string {
	named := ""
	for _, link := range why.Cause {
		named += link.Name + " " + link.Text + "\n"
	}
	var more, others []string
	for _, name := range why.WaitingOn {
		if !containsWord(named, name) {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		more = append(more, "waits for "+strings.Join(others, ", "))
	}
	others = nil
	for _, name := range why.ConflictsWith {
		if !containsWord(named, name) {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		more = append(more, "conflicts with "+strings.Join(others, ", "))
	}
	return more
}

func containsWord(text, word string) bool {
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,:;()\n", r) }) {
		if field == word {
			return true
		}
	}
	return false
}

// nextStep is what a person would type next.
func nextStep(why wire.Why) string {
	if len(why.Cause) == 0 {
		return ""
	}
	root := why.Cause[len(why.Cause)-1]
	switch {
	case why.PortConflict != nil && why.PortConflict.Service != "":
		return "zinit stop " + why.PortConflict.Service
	case badDefinition(root.State):
		return "correct the file of " + root.Name + ", then: zinit reload"
	case root.State.State == "failed":
		if strings.Contains(root.Text, "; its next run is due in ") { // a job
			return "zinit logs " + root.Name + " --run -1, zinit run " + root.Name
		}
		return "zinit logs " + root.Name + ", zinit restart " + root.Name
	case root.State.State == "starting":
		return "zinit logs -f " + root.Name
	case strings.HasPrefix(root.Text, "does not exist") && len(why.Cause) > 1: // its state is inactive, as that of others
		before := why.Cause[len(why.Cause)-2].Name
		return "add " + root.Name + ", or correct the file of " + before + ", then: zinit reload"
	case (root.State.State == "inactive" || root.State.State == "exited") && len(why.Cause) > 1:
		return "zinit start " + root.Name
	}
	return ""
}

func treeCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "tree", Category: categoryLook, Usage: "the dependency tree with states", ArgsUsage: "[NAME]",
		Description: "Below each service stands what it depends on. A service that was drawn already is only named after that.\n" +
			"With --reverse below each service stands what depends on it.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "reverse", Aliases: []string{"r"}, Usage: "from a service to what depends on it"}},
		Action: v.withClient(0, 1, func(c *cli.Context, client *rpc.Client, names []string) error {
			name, ask := "", ""
			if len(names) == 1 {
				name, ask = names[0], names[0]
			}
			if c.Bool("reverse") {
				ask = "" // the answer for one name holds what it needs, not what needs it
			}
			tree, err := client.Tree(v.ctx, ask)
			if err != nil {
				return v.explain(client, "draw", name, err)
			}
			return v.showTree(client, tree, name, c.Bool("reverse"))
		}),
	}
}

func (v *invocation) showTree(client *rpc.Client, tree wire.Tree, name string, reverse bool) error {
	var known []string
	for _, n := range tree.Nodes {
		known = append(known, n.Name)
	}
	text, ok := treeText(tree.Nodes, name, reverse, v.out.style)
	if !ok {
		return v.explain(client, "draw", name, wire.NewError(wire.CodeNotFound, ""))
	}
	return v.print(tree.Nodes, known, func() string { return text })
}

// treeText draws the nodes of service.tree with graph's drawing, from name or from all roots.
func treeText(nodes []wire.TreeNode, name string, reverse bool, st style) (string, bool) {
	g, states := graphOf(nodes)
	options := graph.TreeOptions{Reverse: reverse}
	if name != "" {
		id, ok := g.Lookup(name)
		if !ok {
			return "", false
		}
		options.Roots = []graph.ID{id}
	}
	options.Paint = func(state, symbol string) string { return st.paint(markOf(state).color, symbol) }
	text := graph.Tree(g, func(id graph.ID) graph.NodeView { return graph.NodeView{State: states[g.Name(id)]} }, options)
	used := map[string]bool{}
	for _, m := range stateMarks {
		used[m.state] = strings.Contains(text, m.symbol)
	}
	if legend := st.legend(used, strings.Contains(text, "(target")); legend != "" {
		text += "\n" + legend + "\n"
	}
	return text, true
}

// graphOf makes a graph of the answer, so that the drawing is the one the server's own logs use.
func graphOf(nodes []wire.TreeNode) (*graph.Graph, map[string]string) {
	states := map[string]string{}
	var configs []*graph.Config
	for _, n := range nodes {
		states[n.Name] = n.State.State
		c := &graph.Config{Name: n.Name, Target: n.IsTarget}
		for _, d := range n.Dependencies {
			into := map[string]*[]string{
				"after": &c.Deps.After, "requires": &c.Deps.Requires, "wants": &c.Deps.Wants,
				"conflicts": &c.Deps.Conflicts, "binds": &c.Deps.Binds,
			}[edgeWord(d)]
			if into != nil {
				*into = append(*into, d.Name)
			}
		}
		configs = append(configs, c)
	}
	return graph.New(configs, nil), states
}

func debugStateCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "debug-state", Category: categoryLook, Usage: "all states with their edges, as zinit 0.3.9 prints them",
		Action: v.withClient(0, 0, func(_ *cli.Context, client *rpc.Client, _ []string) error {
			text, err := client.DebugState(v.ctx)
			return v.showText(text, err)
		}),
	}
}

func debugProcsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "debug-procs", Category: categoryLook, Usage: "the processes of a service, as zinit 0.3.9 prints them", ArgsUsage: "NAME",
		Action: v.withClient(1, 1, func(_ *cli.Context, client *rpc.Client, names []string) error {
			text, err := client.ProcessTree(v.ctx, names[0])
			return v.showText(text, v.explain(client, "show", names[0], err))
		}),
	}
}

func (v *invocation) showText(text string, err error) error {
	if err != nil {
		return err
	}
	return v.print(wire.Output{Output: text}, nil, func() string { return strings.TrimRight(text, "\n") + "\n" })
}
