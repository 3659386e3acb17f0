// Package proc is everything the supervisor does with processes: it turns a command into an argument vector, an
// environment and a child, looks at children that ended, finds the members of a service's tree, and ends them. It holds
// no policy: it never decides whether something starts, stops or restarts.
//
// Rules that hold for the whole package: no os/exec (its waiting steals exit statuses from a reaper), every descriptor
// is close-on-exec, a process that is not a child is only signalled through a pidfd after its start time was compared,
// and process 1, the supervisor itself, its keeper and its ancestors are never signalled.
package proc
