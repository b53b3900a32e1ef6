package resourcemanager

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

func TestACanceledDeploymentStaysCanceledAfterACrash(t *testing.T) {
	f := newFixture(t)
	gate := make(chan struct{})
	f.world.set(func() { f.world.gate = gate })
	begun := f.do("owner", "PUT", deploymentAt("d"), orderText(templateText(`"resources":[`+thingText(slow, "first", "")+`,`+thingText(slow, "second", `,"dependsOn":["first"]`)+`]`), "{}"))
	f.want(begun, 201, "")
	f.until(func() bool { return f.do("owner", "GET", at(slow, "first"), "").status == 200 })
	f.want(f.do("owner", "POST", deploymentAt("d")+"/cancel", ""), 204, "")
	f.close()
	f.open()
	close(gate)
	if got := f.ended("owner", begun); got.body.String("status") != stateCanceled {
		t.Errorf("ended %s", document.Text(got.body))
	}
	f.until(func() bool {
		return f.do("owner", "GET", at(slow, "first"), "").body.String("properties", "provisioningState") == stateSucceeded
	})
	f.want(f.do("owner", "GET", at(slow, "second"), ""), 404, "ResourceNotFound")
}

// As long as the disk is full an operation has not ended: nobody is told so, and nothing else changes the resource.
func TestAnEndThatCannotBeWrittenComesLater(t *testing.T) {
	f := newFixture(t)
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(f.dir, "fabric.db"))+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TRIGGER disk BEFORE INSERT ON entry WHEN NEW.bucket = '` + activityBucket + `' BEGIN SELECT RAISE(FAIL, 'the disk is full'); END`)
	begun := f.do("owner", "PUT", at(slow, "s"), `{"location":"westeurope"}`)
	f.want(begun, 201, "")
	f.until(func() bool { return f.world.count(at(slow, "s")) == 1 })
	if got := f.do("owner", "GET", strings.TrimPrefix(begun.header.Get("Azure-AsyncOperation"), management), ""); got.body.String("status") != inProgress {
		t.Errorf("status %s", document.Text(got.body))
	}
	f.want(f.do("owner", "DELETE", at(slow, "s"), ""), 409, "AnotherOperationInProgress")
	exec("DROP TRIGGER disk")
	if got := f.ended("owner", begun); got.body.String("status") != stateSucceeded || f.world.count(at(slow, "s")) != 1 {
		t.Errorf("ended %s", document.Text(got.body))
	}
	f.want(f.do("owner", "DELETE", at(slow, "s"), ""), 202, "")
}

// What a nested deployment has come to after a crash, before the outer one asks for it, is not done again.
func TestANestedDeploymentIsNotRunAgainAfterItsEnd(t *testing.T) {
	f := newFixture(t)
	inner := `{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"inner","properties":{"mode":"Incremental","template":` + templateText(`"resources":[`+thingText(thing, "nested", "")+`]`) + `}}`
	body := orderText(templateText(`"resources":[`+inner+`,`+thingText(slow, "after", `,"dependsOn":["inner"]`)+`]`), "{}")
	for round := 1; round <= 2; round++ { // another deployment of the same name does run it again
		f.run("d", body)
		if n := f.world.count(at(thing, "nested")); n != round {
			t.Errorf("made real %d times in %d rounds", n, round)
		}
	}
	outer, err := f.deploymentOf(t.Context(), mustID(t, deploymentAt("d")))
	if err != nil {
		t.Fatal(err)
	}
	again := &deploying{s: f.Service, id: mustID(t, deploymentAt("d")), above: []string{outer.Path}}
	if err := again.nested(t.Context(), mustID(t, deploymentAt("inner")), &document.Object{}); err != nil {
		t.Errorf("nested = %v", err)
	}
	if n := f.world.count(at(thing, "nested")); n != 2 {
		t.Errorf("made real %d times", n)
	}
}

func mustID(t *testing.T, text string) azure.ID {
	t.Helper()
	id, err := azure.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
