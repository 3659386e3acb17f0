// Package rpc is the JSON-RPC protocol on the control socket: codec, server, client.
package rpc
