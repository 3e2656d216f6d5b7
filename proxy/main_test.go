package proxy_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wstape/wstape/internal/wstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, wstest.Lingering()) }
