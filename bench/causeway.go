//go:build linux

package main

import (
	"context"
)

func causewayInstanceTarget(context.Context, *lab) (*target, error) { return nil, nil }
func causewayTarget(context.Context, *lab) (*target, error)         { return nil, nil }
func frpTarget(context.Context, *lab) (*target, error)              { return nil, nil }
func chiselTarget(context.Context, *lab) (*target, error)           { return nil, nil }
