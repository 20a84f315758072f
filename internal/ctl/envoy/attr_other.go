//go:build unix && !linux

package envoy

import "syscall"

// childAttr puts Envoy into a process group of its own.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
