//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// causewayTarget is the whole path of `causeway up`: balancer, one instance, one connection point. One instance, so
// that it stands beside causeway-instance, from which it differs by the balancer alone.
func causewayTarget(ctx context.Context, l *lab) (*target, error) {
	if l.causeway == "" {
		return nil, nil
	}
	const ip, port = "127.77.0.20", "8443"
	state := filepath.Join(l.dir, "causeway-state")
	cmd, err := l.runAt(ctx, "causeway", []string{ip + ":" + port}, l.causeway, "up", "--state", state, "--listen", ip, "--port", port,
		"--service-name", serviceName, "--cert", l.keys.certFile, "--key", l.keys.keyFile, "--device-ca", l.keys.deviceCAFile,
		"--publish", "files=http://"+backendAddress, "--publish", "sink=http://"+sinkAddress,
		"--instances", "1", "--connection-points", "1", "--limits-off")
	if err != nil {
		return nil, err
	}
	ready, err := awaitReady(ctx, filepath.Join(state, "ready.json"))
	if err != nil {
		return nil, fmt.Errorf("%w (see %s)", err, filepath.Join(l.dir, "causeway.log"))
	}
	for _, name := range []string{"files", "sink"} {
		if err := l.causewayCommand(ctx, "server", "set", name, "--state", state,
			"--max-in-flight", "-1", "--rate", "-1", "--burst", "-1", "--concurrency", "-1"); err != nil {
			return nil, err
		}
	}
	l.version(l.causeway, "version")
	return &target{
		address: ip + ":" + port, h2: true, identity: true,
		gateway:   func() []int { return append(childrenRunning(cmd, "balancer"), childrenRunning(cmd, "gateway")...) },
		connector: func() []int { return childrenRunning(cmd, "connection-point") },
		gatewayMetrics: func() []string {
			return []string{filepath.Join(state, "instances", "0", "run.sock")}
		},
		connectorMetrics: func() []string {
			return []string{filepath.Join(state, "connection-points", ready.ConnectionPoints[0].ID, "run.sock")}
		},
	}, nil
}

type causewayReady struct {
	ConnectionPoints []struct {
		ID string `json:"id"`
	} `json:"connection_points"`
}

// awaitReady returns what ready.json says, once it is there.
func awaitReady(ctx context.Context, file string) (ready causewayReady, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &ready)
			if err == nil && len(ready.ConnectionPoints) == 0 {
				err = errors.New("ready.json names no connection point")
			}
			return ready, err
		}
		select {
		case <-ctx.Done():
			return ready, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l *lab) causewayCommand(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, l.causeway, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("causeway %v: %w\n%s", args, err, out)
	}
	return nil
}

// childrenRunning lists the processes below cmd that run that command of causeway.
func childrenRunning(cmd *exec.Cmd, command string) (pids []int) {
	for _, p := range descendants(cmd.Process.Pid) {
		if p.pid != cmd.Process.Pid && len(p.args) > 1 && slices.Contains(p.args[:2], command) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

func causewayInstanceTarget(context.Context, *lab) (*target, error) { return nil, nil }
