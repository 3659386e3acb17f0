// Package xinet is 0.3.9's socket proxy: it listens on addresses in place of a service, starts the service when somebody
// connects, forwards bytes both ways, and stops the service when nobody has been connected for a while.
//
// A Manager holds the proxies. Everything that changes a count or a definition happens under its one mutex; forwarding
// does not. What the supervisor must do for it is the interface Services.
package xinet
