//! The objects of a generated cluster, in the sizes that real ones have.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::super::template::uuid_text;
use super::{CYCLE, OTHERS, Options, TOGETHER};
use crate::object::{AllocationFacts, Body, Object, Render};

/// The numbers that all objects of the cluster follow from.
#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    pub(super) allocations: u64,
    pub(super) jobs: u64,
    pub(super) nodes: u64,
    /// Nanoseconds between two transactions.
    pub(super) interval: u64,
    namespace: Arc<str>,
    group: Arc<str>,
    job_ids: Vec<Arc<str>>,
}

/// Updates in the life of one allocation: it is placed, starts, restarts, completes, and another takes its slot.
const LIFE: u64 = 8;
/// In one of this many slots, the task restarts more often than Nomad remembers.
const FLAPPERS: u64 = 10;
/// The moment of transaction 0 in nanoseconds.
const EPOCH: i64 = 1_795_243_467_000_000_000;
/// Task events that Nomad keeps.
const KEPT_EVENTS: usize = 10;

impl World {
    pub(super) fn new(options: &Options) -> Self {
        let allocations = options.allocations.max(TOGETHER);
        let jobs = (allocations / 100).max(1);
        Self {
            seed: options.seed,
            allocations,
            jobs,
            nodes: (allocations / 50).max(1),
            interval: (1e9 / options.churn.max(1e-6)) as u64,
            namespace: Arc::from("default"),
            group: Arc::from("group"),
            job_ids: (0..jobs).map(|job| Arc::from(format!("service-{job}"))).collect(),
        }
    }

    fn uuid(&self, kind: u64, number: u64, version: u64) -> String {
        let mut state = self.seed;
        let mut mixed = [0; 2];
        for half in &mut mixed {
            for part in [kind, number, version] {
                // splitmix64
                state = state.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
                state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                state ^= state >> 31;
            }
            *half = state;
        }
        uuid_text(u128::from(mixed[0]) << 64 | u128::from(mixed[1]))
    }

    fn node_id(&self, node: u64) -> String {
        self.uuid(1, node, 0)
    }

    pub(super) fn evaluation_id(&self, cycle: u64) -> String {
        self.uuid(2, cycle, 0)
    }

    pub(super) fn deployment_id(&self, cycle: u64) -> String {
        self.uuid(3, cycle, 0)
    }

    fn time(&self, transaction: i64) -> i64 {
        EPOCH + transaction * self.interval as i64
    }

    pub(super) fn node(&self, node: u64, modify: u64, last_update: u64, events: u64) -> String {
        let id = self.node_id(node);
        let events: Vec<_> = (0..=events.min(9))
            .map(|n| {
                format!(
                    r#"{{"CreateIndex":0,"Details":null,"Message":"Node event {n}","Subsystem":"Cluster","Timestamp":"2026-11-21T06:44:25Z"}}"#
                )
            })
            .collect();
        let drivers: Vec<_> = ["docker", "exec", "java", "qemu", "raw_exec"]
            .map(|driver| {
                format!(
                    r#""{driver}":{{"Attributes":{{"driver.{driver}":"true"}},"Detected":true,"HealthDescription":"Healthy","Healthy":true,"UpdateTime":"2026-11-21T06:44:23.497827427Z"}}"#
                )
            })
            .into();
        format!(
            r#"{{"Attributes":{{"cpu.arch":"amd64","cpu.frequency":"2300","cpu.modelname":"Intel(R) Xeon(R) Processor","cpu.numcores":"2","cpu.totalcompute":"4600","kernel.arch":"x86_64","kernel.name":"linux","kernel.version":"6.1.0-28-amd64","memory.totalbytes":"25276502016","nomad.service_discovery":"true","nomad.version":"2.0.5","os.cgroups.version":"1","os.name":"debian","os.version":"12.11","unique.hostname":"node-{node}","unique.network.ip-address":"127.0.0.1","unique.storage.bytestotal":"270553174016"}},"CSIControllerPlugins":{{}},"CSINodePlugins":{{}},"CgroupParent":"nomad.slice","ComputedClass":"v1:10695952678151855388","CreateIndex":10,"Datacenter":"dc1","Drain":false,"DrainStrategy":null,"Drivers":{{{}}},"Events":[{}],"GCVolumesOnNodeGC":false,"HTTPAddr":"127.0.0.1:4646","HostNetworks":null,"HostVolumes":{{}},"ID":"{id}","LastAllocUpdateIndex":{last_update},"LastDrain":null,"LastMissedHeartbeatIndex":0,"Links":{{}},"Meta":{{}},"ModifyIndex":{modify},"Name":"node-{node}","NodeClass":"","NodeMaxAllocs":0,"NodePool":"default","SchedulingEligibility":"eligible","SecretID":"","Status":"ready","StatusDescription":"","StatusUpdatedAt":1795243465,"TLSEnabled":false}}"#,
            drivers.join(","),
            events.join(",")
        )
    }

    pub(super) fn node_event(&self, node: u64, kind: &str, modify: u64, index: u64) -> String {
        let events = if kind == "NodeStreamEvent" { index % 10 } else { 0 };
        let object = self.node(node, modify, index, events);
        event("Node", kind, &self.node_id(node), "", "null", index, &object)
    }

    pub(super) fn node_line(&self, cycle: u64, kind: &str, index: u64) -> String {
        // A stream event leaves the node's ModifyIndex where it was.
        let modify = if kind == "NodeStreamEvent" { index - 1 } else { index };
        line(&[self.node_event(cycle % self.nodes, kind, modify, index)], index)
    }

    pub(super) fn nodes_of(&self, allocations: &[Allocation]) -> BTreeSet<u64> {
        allocations.iter().map(|allocation| allocation.slot % self.nodes).collect()
    }

    pub(super) fn job(&self, job: u64, version: u64, index: u64) -> String {
        let id = &self.job_ids[job as usize];
        let submitted = EPOCH;
        format!(
            r#"{{"Affinities":null,"AllAtOnce":false,"Constraints":null,"ConsulNamespace":"","CreateIndex":10,"Datacenters":["*"],"Dispatched":false,"ID":"{id}","JobModifyIndex":{index},"Meta":null,"ModifyIndex":{index},"Multiregion":null,"Name":"{id}","Namespace":"default","NodePool":"default","ParameterizedJob":null,"ParentID":"","Payload":null,"Periodic":null,"Priority":50,"Region":"global","Spreads":null,"Stable":false,"Status":"running","StatusDescription":"","Stop":false,"SubmitTime":{submitted},"TaskGroups":[{{"Constraints":null,"Count":100,"EphemeralDisk":{{"Migrate":false,"SizeMB":20,"Sticky":false}},"Meta":null,"Name":"group","Networks":null,"RestartPolicy":{{"Attempts":0,"Delay":1000000000,"Interval":1800000000000,"Mode":"fail","RenderTemplates":false}},"Tasks":[{{"Config":{{"command":"/bin/sleep","args":["1000"]}},"Driver":"raw_exec","Env":{{"VERSION":"{version}"}},"KillTimeout":1000000000,"Name":"main","Resources":{{"CPU":1,"Cores":0,"MemoryMB":10}}}}]}}],"Type":"service","Version":{version},"VersionTag":null}}"#
        )
    }

    fn job_of(&self, cycle: u64) -> (u64, u64) {
        (cycle % self.jobs, cycle / self.jobs + 1)
    }

    pub(super) fn job_registered(&self, cycle: u64, index: u64) -> String {
        let (job, version) = self.job_of(cycle);
        let id = &self.job_ids[job as usize];
        line(&[event("Job", "JobRegistered", id, "default", "null", index, &self.job(job, version, index))], index)
    }

    fn evaluation(&self, cycle: u64, status: &str, created: u64, index: u64) -> String {
        let (job, _) = self.job_of(cycle);
        let (id, job) = (self.evaluation_id(cycle), &self.job_ids[job as usize]);
        format!(
            r#"{{"CreateIndex":{created},"CreateTime":{EPOCH},"ID":"{id}","JobID":"{job}","JobModifyIndex":{created},"ModifyIndex":{index},"ModifyTime":{EPOCH},"Namespace":"default","Priority":50,"QueuedAllocations":{{"group":0}},"Status":"{status}","TriggeredBy":"job-register","Type":"service"}}"#
        )
    }

    fn evaluation_event(&self, cycle: u64, kind: &str, index: u64) -> String {
        let (status, age) = match kind {
            "JobRegistered" => ("pending", 0),
            "PlanResult" => ("pending", 1),
            _ => ("complete", 2),
        };
        let keys = format!("[\"{}\",\"\"]", self.job_ids[self.job_of(cycle).0 as usize]);
        let object = self.evaluation(cycle, status, index - age, index);
        event("Evaluation", kind, &self.evaluation_id(cycle), "default", &keys, index, &object)
    }

    pub(super) fn evaluation_line(&self, cycle: u64, kind: &str, index: u64) -> String {
        line(&[self.evaluation_event(cycle, kind, index)], index)
    }

    fn deployment_event(&self, cycle: u64, kind: &str, index: u64) -> String {
        let (job, version) = self.job_of(cycle);
        let (id, job) = (self.deployment_id(cycle), &self.job_ids[job as usize]);
        let (status, created) = if kind == "PlanResult" { ("running", index) } else { ("successful", index - 2) };
        let object = format!(
            r#"{{"CreateIndex":{created},"CreateTime":{EPOCH},"EvalPriority":50,"ID":"{id}","IsMultiregion":false,"JobCreateIndex":10,"JobID":"{job}","JobModifyIndex":{},"JobSpecModifyIndex":{},"JobVersion":{version},"ModifyIndex":{index},"ModifyTime":{EPOCH},"Namespace":"default","Status":"{status}","StatusDescription":"Deployment {status}","TaskGroups":{{"group":{{"AutoPromote":false,"DesiredTotal":100,"HealthyAllocs":0,"PlacedAllocs":100,"UnhealthyAllocs":0}}}}}}"#,
            created - 1,
            created - 1
        );
        event("Deployment", kind, &id, "default", &format!("[\"{job}\"]"), index, &object)
    }

    pub(super) fn deployment_line(&self, cycle: u64, index: u64) -> String {
        line(&[self.deployment_event(cycle, "DeploymentStatusUpdate", index)], index)
    }

    /// The plan's evaluation and deployment, and the job that it did not change.
    pub(super) fn plan_result(&self, cycle: u64, index: u64) -> String {
        let (job, version) = self.job_of(cycle);
        let id = &self.job_ids[job as usize];
        let bystander = self.job(job, version, index - 1);
        let events = [
            self.evaluation_event(cycle, "PlanResult", index),
            self.deployment_event(cycle, "PlanResult", index),
            event("Job", "PlanResult", id, "default", "null", index, &bystander),
        ];
        line(&events, index)
    }
}

fn event(topic: &str, kind: &str, key: &str, namespace: &str, filter: &str, index: u64, object: &str) -> String {
    format!(
        r#"{{"FilterKeys":{filter},"Index":{index},"Key":"{key}","Namespace":"{namespace}","Payload":{{"{topic}":{object}}},"Topic":"{topic}","Type":"{kind}"}}"#
    )
}

fn line(events: &[String], index: u64) -> String {
    format!("{{\"Events\":[{}],\"Index\":{index}}}", events.join(","))
}

/// The recipe of one version of an allocation.
#[derive(Debug, Clone)]
pub(super) struct Allocation {
    world: Arc<World>,
    slot: u64,
    /// Updates of the slot, counted from the placement of its first allocation, before the history begins.
    age: u64,
    create_index: u64,
    modify_index: u64,
}

impl Allocation {
    /// The age of a slot when the history begins: some have just started, some are about to complete.
    fn head_start(slot: u64) -> u64 {
        1 + slot.wrapping_mul(0x9e37_79b9) % (LIFE - 2)
    }

    pub(super) fn initial(world: &Arc<World>, slot: u64, index: u64) -> Self {
        let age = Self::head_start(slot);
        Self { world: world.clone(), slot, age, create_index: index, modify_index: index }
    }

    /// The allocation of the update with this number in the sequence of all updates, after that update.
    pub(super) fn updated(world: &Arc<World>, sequence: u64, index: u64, first_index: u64) -> Self {
        let (turn, slot) = (sequence / world.allocations, sequence % world.allocations);
        let age = Self::head_start(slot) + turn + 1;
        let mut allocation = Self { world: world.clone(), slot, age, create_index: 0, modify_index: index };
        let placed = allocation.transaction(age - age % LIFE);
        allocation.create_index = if age < LIFE {
            first_index + 1 + slot / super::LOAD
        } else {
            index.saturating_sub((allocation.transaction(age) - placed).cast_unsigned())
        };
        allocation
    }

    pub(super) fn is_new(&self) -> bool {
        self.age.is_multiple_of(LIFE)
    }

    fn id_of(&self, life: u64) -> String {
        self.world.uuid(4, self.slot, life)
    }

    pub(super) fn predecessor(&self) -> String {
        self.id_of((self.age / LIFE).saturating_sub(1))
    }

    /// The transaction in which the slot reached an age; negative before the history.
    fn transaction(&self, age: u64) -> i64 {
        let turn = age as i64 - Self::head_start(self.slot) as i64 - 1;
        let update = (turn * self.world.allocations as i64 + self.slot as i64).div_euclid(TOGETHER as i64);
        let (cycle, updates) = (CYCLE as i64, (CYCLE - OTHERS) as i64);
        update.div_euclid(updates) * cycle + OTHERS as i64 + update.rem_euclid(updates)
    }

    fn status(&self) -> &'static str {
        match self.age % LIFE {
            0 => "pending",
            age if age == LIFE - 1 => "complete",
            _ => "running",
        }
    }

    pub(super) fn object(self) -> Object {
        Object {
            namespace: self.world.namespace.clone(),
            id: Arc::from(self.id_of(self.age / LIFE)),
            create_index: self.create_index,
            modify_index: self.modify_index,
            job: Some(self.world.job_ids[(self.slot % self.world.jobs) as usize].clone()),
            finished: self.status() == "complete",
            body: Body::Lazy(Box::new(self)),
        }
    }

    pub(super) fn event(&self, kind: &str, index: u64) -> String {
        let job = &self.world.job_ids[(self.slot % self.world.jobs) as usize];
        let keys = format!("[\"{job}\",\"\"]");
        event("Allocation", kind, &self.id_of(self.age / LIFE), "default", &keys, index, &self.json())
    }

    /// Every task event up to this version, oldest first: type, message, time.
    fn task_events(&self) -> Vec<(&'static str, &'static str, i64)> {
        let mut events = Vec::new();
        let born = self.age - self.age % LIFE;
        for age in born + 1..=self.age {
            let at = self.world.time(self.transaction(age));
            match age % LIFE {
                1 => events.extend([
                    ("Received", "Task received by client", at - 900_000),
                    ("Task Setup", "Building Task Directory", at - 800_000),
                    ("Started", "Task started by client", at - 100_000),
                ]),
                age if age == LIFE - 1 => events.push(("Terminated", "Exit Code: 0", at - 100_000)),
                _ if self.slot.is_multiple_of(FLAPPERS) => events.extend([
                    ("Terminated", "Exit Code: 1", at - 700_000),
                    ("Restarting", "Task restarting in 0s", at - 600_000),
                    ("Started", "Task started by client", at - 100_000),
                ]),
                _ => events.push(("Signaling", "Task being sent a signal", at - 100_000)),
            }
        }
        events
    }

    /// The member `TaskStates` with a comma before it; nothing where there are no events yet.
    fn task_states(&self, out: &mut String) {
        let events = self.task_events();
        if events.is_empty() {
            return;
        }
        let kept = &events[events.len().saturating_sub(KEPT_EVENTS)..];
        out.push_str(r#","TaskStates":{"main":{"Events":["#);
        for (number, (kind, message, time)) in kept.iter().enumerate() {
            let parts = [
                if number == 0 { "" } else { "," },
                r#"{"Details":{},"DiskLimit":0,"DisplayMessage":""#,
                message,
                r#"","DownloadError":"","DriverError":"","DriverMessage":"","ExitCode":0,"FailedSibling":"","FailsTask":false,"GenericSource":"","KillError":"","KillReason":"","KillTimeout":0,"Message":"","RestartReason":"","SetupError":"","Signal":0,"StartDelay":0,"TaskSignal":"","TaskSignalReason":"","Time":"#,
                &time.to_string(),
                r#","Type":""#,
                kind,
                r#"","ValidationError":"","VaultError":""}"#,
            ];
            parts.into_iter().for_each(|part| out.push_str(part));
        }
        let state = if self.status() == "complete" { "dead" } else { "running" };
        let parts = [
            r#"],"Failed":false,"FinishedAt":null,"LastRestart":null,"Paused":"","Restarts":0,"StartedAt":"2026-11-21T06:44:27.365247361Z","State":""#,
            state,
            r#""}}"#,
        ];
        parts.into_iter().for_each(|part| out.push_str(part));
    }

    fn json(&self) -> String {
        let world = &self.world;
        let (id, node) = (self.id_of(self.age / LIFE), self.slot % world.nodes);
        let (node_id, job) = (world.node_id(node), &world.job_ids[(self.slot % world.jobs) as usize]);
        let resources = r#"{"CPU":1,"Cores":0,"Devices":null,"DiskMB":0,"IOPS":0,"MemoryMB":10,"MemoryMaxMB":0,"NUMA":null,"Networks":null,"SecretsMB":0}"#;
        let (created, modified) =
            (world.time(self.transaction(self.age - self.age % LIFE)), world.time(self.transaction(self.age)));
        let mut out = String::with_capacity(6 * 1024);
        let written = write!(
            out,
            r#"{{"AllocModifyIndex":{create},"AllocatedResources":{{"Shared":{{"DiskMB":20,"Networks":null,"Ports":null}},"TaskLifecycles":{{"main":null}},"Tasks":{{"main":{{"Cpu":{{"CpuShares":1,"ReservedCores":null}},"Devices":null,"Memory":{{"MemoryMB":10,"MemoryMaxMB":0}},"Networks":null}}}}}},"ClientDescription":"","ClientStatus":"{status}","CreateIndex":{create},"CreateTime":{created},"DesiredStatus":"run","EvalID":"{eval}","ID":"{id}","JobID":"{job}","Metrics":{{"AllocationTime":597662,"ClassExhausted":null,"ClassFiltered":null,"CoalescedFailures":0,"ConstraintFiltered":null,"DimensionExhausted":null,"NodePool":"default","NodesAvailable":{{"dc1":{nodes}}},"NodesEvaluated":{nodes},"NodesExhausted":0,"NodesFiltered":0,"NodesInPool":{nodes},"ScoreMetaData":[{{"NodeID":"{node_id}","NormScore":0.0016162565892933066,"Scores":{{"binpack":0.0016162565892933066,"job-anti-affinity":0.0,"node-affinity":0.0,"node-reschedule-penalty":0.0}}}}],"Scores":null}},"ModifyIndex":{modify},"ModifyTime":{modified},"Name":"{job}.group[{slot}]","Namespace":"default","NodeID":"{node_id}","NodeName":"node-{node}","Resources":{resources},"SharedResources":{resources},"TaskGroup":"group","TaskResources":{{"main":{resources}}}"#,
            create = self.create_index,
            modify = self.modify_index,
            status = self.status(),
            eval = world.uuid(5, self.slot, self.age / LIFE),
            nodes = world.nodes,
            slot = self.slot / world.jobs,
        );
        // write! to a String cannot fail.
        debug_assert!(written.is_ok());
        self.task_states(&mut out);
        out.push('}');
        out
    }
}

impl Allocation {
    fn stub(&self, job_type: &str, job_version: u64) -> String {
        let world = &self.world;
        let (id, node) = (self.id_of(self.age / LIFE), self.slot % world.nodes);
        let (node_id, job) = (world.node_id(node), &world.job_ids[(self.slot % world.jobs) as usize]);
        let (created, modified) =
            (world.time(self.transaction(self.age - self.age % LIFE)), world.time(self.transaction(self.age)));
        let mut out = String::with_capacity(6 * 1024);
        let written = write!(
            out,
            r#"{{"ClientDescription":"","ClientStatus":"{status}","CreateIndex":{create},"CreateTime":{created},"DeploymentStatus":null,"DesiredDescription":"","DesiredStatus":"run","DesiredTransition":{transition},"EvalID":"{eval}","FollowupEvalID":"","ID":"{id}","JobID":"{job}","JobType":"{job_type}","JobVersion":{job_version},"ModifyIndex":{modify},"ModifyTime":{modified},"Name":"{job}.group[{slot}]","Namespace":"default","NextAllocation":"","NodeID":"{node_id}","NodeName":"node-{node}","PreemptedAllocations":null,"PreemptedByAllocation":"","RescheduleTracker":null,"TaskGroup":"group""#,
            create = self.create_index,
            modify = self.modify_index,
            status = self.status(),
            transition = crate::object::NO_TRANSITION,
            eval = world.uuid(5, self.slot, self.age / LIFE),
            slot = self.slot / world.jobs,
        );
        // write! to a String cannot fail.
        debug_assert!(written.is_ok());
        let states = out.len();
        self.task_states(&mut out);
        out.push_str(if out.len() == states { r#","TaskStates":null}"# } else { "}" });
        out
    }
}

impl Render for Allocation {
    fn allocation_stub(&self, job_type: &str, job_version: u64) -> Option<Vec<u8>> {
        // No job of a generated cluster has a type that would need escapes.
        Some(self.stub(job_type, job_version).into_bytes())
    }

    fn render(&self) -> Bytes {
        Bytes::from(self.json())
    }

    fn allocation(&self) -> Option<AllocationFacts> {
        Some(AllocationFacts {
            job_id: self.world.job_ids[(self.slot % self.world.jobs) as usize].clone(),
            task_group: self.world.group.clone(),
            client_status: Box::from(self.status()),
            desired_status: Box::from("run"),
            alloc_modify_index: self.create_index,
        })
    }
}
