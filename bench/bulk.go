//go:build linux

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const bulkBuffer = 256 << 10

// downloads reads 64 MiB files on n connections until the time is up. What was read until then counts.
func downloads(n int) func(context.Context, *lab, *target, time.Duration) (result, error) {
	return func(ctx context.Context, l *lab, t *target, duration time.Duration) (result, error) {
		d := l.dialingOf(t, false)
		d.buffer = bulkBuffer
		var carried, files atomic.Int64
		begin := time.Now()
		end := begin.Add(duration)
		g, ctx := errgroup.WithContext(ctx)
		for range n {
			g.Go(func() error {
				c, err := d.dial(ctx)
				if err != nil {
					return err
				}
				defer c.close()
				for time.Now().Before(end) {
					n, err := c.download(end, 0)
					carried.Add(n)
					if err != nil {
						return err
					}
					files.Add(1)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return result{}, err
		}
		took := time.Since(begin).Seconds()
		return result{Requests: float64(files.Load()), Seconds: took, MB: float64(carried.Load()) / 1e6}, nil
	}
}

// download reads one file, or as much of it as comes before end, at most bytesPerSecond of it when that is set.
func (c *client) download(end time.Time, bytesPerSecond float64) (read int64, err error) {
	if err := c.send("GET", "/files/64m", 0); err != nil {
		return 0, err
	}
	status, length, err := c.answer()
	if err != nil {
		return 0, err
	}
	if status != 200 || length != bulkBytes {
		return 0, fmt.Errorf("download: status %d, %d bytes", status, length)
	}
	for begin := time.Now(); read < length && time.Now().Before(end); {
		n, err := c.r.Discard(int(min(bulkBuffer, length-read)))
		read += int64(n)
		if err != nil {
			return read, err
		}
		if bytesPerSecond > 0 {
			due := begin.Add(time.Duration(float64(read) / bytesPerSecond * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
	}
	return read, nil
}

// upload sends 64 MiB bodies on one connection until the time is up; a body that was begun is finished.
func upload(ctx context.Context, l *lab, t *target, duration time.Duration) (result, error) {
	d := l.dialingOf(t, false)
	path := "/sink/up"
	if t.plain {
		d.address = sinkAddress
	}
	c, err := d.dial(ctx)
	if err != nil {
		return result{}, err
	}
	defer c.close()
	body := make([]byte, bulkBuffer)
	var got result
	begin := time.Now()
	for time.Since(begin) < duration && ctx.Err() == nil {
		if err := c.send("POST", path, bulkBytes); err != nil {
			return result{}, err
		}
		for sent := 0; sent < bulkBytes; sent += len(body) {
			if _, err := c.conn.Write(body); err != nil {
				return result{}, err
			}
		}
		status, length, err := c.answer()
		if err != nil {
			return result{}, err
		}
		if status != 200 {
			return result{}, fmt.Errorf("upload: status %d", status)
		}
		if _, err := c.r.Discard(int(length)); err != nil {
			return result{}, err
		}
		got.Requests++
		got.MB += bulkBytes / 1e6
	}
	got.Seconds = time.Since(begin).Seconds()
	return got, nil
}
