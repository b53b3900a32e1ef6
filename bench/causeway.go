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
	if err := os.RemoveAll(state); err != nil {
		return nil, err
	}
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
	if err := l.liftServerLimits(ctx, state); err != nil {
		return nil, err
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
	return ready, await(ctx, func() error {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, &ready); err != nil {
			return err
		}
		if len(ready.ConnectionPoints) == 0 {
			return errors.New("ready.json names no connection point")
		}
		return nil
	})
}

// await tries until it works, for as long as a start may take.
func await(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// plenty is a bound that no measurement reaches. The bounds stay on, because keeping to them is part of the work.
const plenty = "1000000"

// liftServerLimits raises the bounds that keep one device from taking everything: one device is all there is here.
func (l *lab) liftServerLimits(ctx context.Context, state string) error {
	for _, name := range []string{"files", "sink"} {
		if err := l.causewayCommand(ctx, "server", "set", name, "--state", state,
			"--max-in-flight", plenty, "--rate", plenty, "--burst", plenty, "--concurrency", plenty); err != nil {
			return err
		}
	}
	return nil
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

// causewayInstanceTarget is one gateway instance that binds its own ports, and one connection point, as on two hosts
// of their own: nothing is in front of the instance.
func causewayInstanceTarget(ctx context.Context, l *lab) (*target, error) {
	if l.causeway == "" {
		return nil, nil
	}
	const ip, port, channelPort = "127.77.0.21", "8443", "10124"
	dir := filepath.Join(l.dir, "causeway-instance")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	state, gatewayDir := filepath.Join(dir, "site"), filepath.Join(dir, "gateway")
	args := []string{"site", "run", "--state", state, "--gateway-address", ip + ":" + channelPort, "--port", port,
		"--service-name", serviceName, "--cert", l.keys.certFile, "--key", l.keys.keyFile, "--device-ca", l.keys.deviceCAFile,
		"--publish", "files=http://" + backendAddress, "--publish", "sink=http://" + sinkAddress, "--limits-off"}
	for n := range pointsOfSite {
		args = append(args, "--connection-point", pointName(n+1))
	}
	if _, err := l.run("causeway-site", l.causeway, args...); err != nil {
		return nil, err
	}
	if err := await(ctx, func() error { return l.causewayCommand(ctx, "status", "--state", state) }); err != nil {
		return nil, err
	}
	if err := l.liftServerLimits(ctx, state); err != nil {
		return nil, err
	}
	if err := l.causewayCommand(ctx, "site", "export", "--state", state, "gateway", "0", gatewayDir, "--listen", ip); err != nil {
		return nil, err
	}
	gateway, err := l.runAt(ctx, "causeway-gateway", []string{ip + ":" + port, ip + ":" + channelPort},
		l.causeway, "gateway", "run", "--config", filepath.Join(gatewayDir, "config.yaml"))
	if err != nil {
		return nil, err
	}
	point, socket, err := l.startPoint(ctx, state, 1)
	if err != nil {
		return nil, err
	}
	t := &target{
		address: ip + ":" + port, h2: true, identity: true, gateway: tree(gateway), connector: tree(point),
		gatewayMetrics:   func() []string { return []string{filepath.Join(gatewayDir, "run.sock")} },
		connectorMetrics: func() []string { return []string{socket} },
		point: func(ctx context.Context, n int) (string, error) {
			_, socket, err := l.startPoint(ctx, state, n)
			return socket, err
		},
	}
	return t, await(ctx, func() error { return l.answers(ctx, t) })
}
