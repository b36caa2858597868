"""The texts of the campaign in Chinese, for docs/zh/reliability.md. The keys have `{}` for each number."""
# ruff: noqa: RUF001 (Chinese has its own commas)

from collections.abc import Mapping

from translation import translator

PAGE = {
    "Reliability": "可靠性",
    "`make fire` breaks everything around ImagePorter and checks three promises. No target ever gets a wrong tag. A "
    "failure is reported with its reason and the exit code {}. The next pass after the fault makes every target equal "
    "to its source. `make fire` writes this page. All registries are real (distribution), and so are crane and "
    "supercronic.": (
        "`make fire` 在 ImagePorter 周围制造各种故障，检查三条保证：目标的标签绝不会指向错误的内容；失败时报告原因，"
        "退出码为 {}；故障消除后的下一轮同步让所有目标与源一致。本页由 `make fire` 生成。所用的镜像仓库（distribution）、"
        "crane 和 supercronic 都是真实的程序。"
    ),
    "Measured on {}-{}-{}, seed {}, {} cores, {} min.": "测量于 {}-{}-{}，随机种子 {}，{} 核，用时 {} 分钟。",
    "Broken:": "违反保证：",
    "Network faults": "网络故障",
    "A pass syncs {} images between two registries with TLS and a token service. At the target, {} of them are equal, "
    "{} are outdated, and {} are missing. {} come from a list of tags. During this pass the fault hits {} % of the "
    "connections, or {} % of the images if it is a fault of a host. Faults of lists of tags, and the {} of copies that "
    "is not temporary, hit every connection.": (
        "一轮同步在两个镜像仓库之间同步 {} 个镜像，两边都使用 TLS 和令牌服务。目标端有 {} 个镜像与源一致，{} 个已过时，"
        "{} 个缺失；其中 {} 个镜像来自标签列表。这一轮中，{} % 的连接出现故障；如果是主机的故障，则是 {} % 的镜像受影响。"
        "列出标签时的故障，以及复制时持续的 {}，影响所有连接。"
    ),
    "`failed` counts the images that the pass reported as failed. Each of them had a reason that fits the fault. The "
    "exit code was {} if there were any, else {}. The pass ended within `bound` seconds. Every image that it reported "
    "as copied or skipped was equal to its source, and no tag ever got another digest than that of its source. The "
    "second pass, without the fault, ended with {} and all targets equal. No password of an account was in the log at "
    "DEBUG, in DATA_DIR, in TMPDIR, on a command line or in crane's environment.": (
        "“失败”是这一轮报告为失败的镜像数。每个失败的原因都与故障相符；有失败时退出码为 {}，否则为 {}。"
        "这一轮在“时限”之内结束（单位为秒）。报告为已复制或已跳过的镜像，都与源一致；目标的标签从未指向源之外的摘要。"
        "第二轮没有故障，退出码为 {}，所有目标与源一致。DEBUG 级别的日志、DATA_DIR、TMPDIR、"
        "命令行以及 crane 的环境变量中，都没有出现账户的密码。"
    ),
    "Settings: `RETRIES={}`, `RETRY_DELAY_TIME={}`, `JOBS={}`, `PROBE_TIMEOUT={}`, `STALL_TIMEOUT={}`, "
    "`COPY_TIMEOUT={}`. The time limits are longer where crane retries by itself, and for the latency. GOAWAY and "
    "RST_STREAM are tried with {} images and `PROBES={}`.": (
        "设置：`RETRIES={}`、`RETRY_DELAY_TIME={}`、`JOBS={}`、`PROBE_TIMEOUT={}`、`STALL_TIMEOUT={}`、"
        "`COPY_TIMEOUT={}`。在 crane 自己会重试的故障和高延迟中，时限更长。"
        "GOAWAY 和 RST_STREAM 使用 {} 个镜像和 `PROBES={}`。"
    ),
    "Searched for passwords: {} MiB in {} samples of the process table.": (
        "为查找密码，共搜索了 {} MiB，对进程表采样 {} 次。"
    ),
    "Passwords": "密码",
    "A canary password is put in every place that can hold one, and in places where it does not belong. Then everything "
    "that was written is searched for it, as it is and as URLs, HTML, JSON, hex and base{} encode it: the log at DEBUG, "
    "DATA_DIR, TMPDIR and HOME, every command line and crane's environment (sampled every {} ms), and core files. For "
    "the core files, their size is unlimited, and the processes are killed with SIGABRT. `elsewhere` is a server with a "
    "valid certificate that asks everybody for a password. The faults of the first table search for canaries, too.": (
        "在每个可以写密码的地方，以及不该写密码的地方，都放上一个用于检测的假密码。然后在所有输出中查找它，既查原文，"
        "也查 URL、HTML、JSON、十六进制和 base{} 编码后的形式：DEBUG 级别的日志，DATA_DIR、TMPDIR 和 HOME，"
        "每个进程的命令行和 crane 的环境变量（每 {} 毫秒采样一次），以及 core 文件。测试 core 文件时，不限制其大小，"
        "用 SIGABRT 终止进程。`elsewhere` 是一台证书有效、向所有人索要密码的服务器。"
        "测试第一张表中的故障时，也会查找这样的密码。"
    ),
    "Kills, disks and the clock": "进程被终止、磁盘和时钟",
    "{} images, {} of them with {} MiB, are copied to an empty registry with TLS and an account. A process is killed at "
    "a random moment of the pass, {} times in all. Afterwards none of its processes was left, not even after SIGKILL, "
    "and each tag at the target was right. After SIGTERM no private directory was left. The next pass ended with {} and "
    "all targets equal, and it had removed what SIGKILL had left. A push that the webhook receiver had accepted ({}) "
    "was copied by the next queue run. A full disk has {} to {} KB free. The pass then ended with {} or {} and said so, "
    "or with {} and everything copied.": (
        "向一个使用 TLS 和账户的空镜像仓库复制 {} 个镜像，其中 {} 个为 {} MiB。在一轮同步的随机时刻终止一个进程，"
        "共 {} 次。之后它的进程全部消失，SIGKILL 也不例外；目标的每个标签都正确。SIGTERM 之后没有留下私有目录。"
        "下一轮同步的退出码为 {}，所有目标与源一致，并清理了 SIGKILL 留下的内容。webhook 服务已接受（{}）的推送，"
        "都由下一次队列同步完成了复制。“磁盘已满”时还剩 {} 到 {} KB：这一轮以 {} 或 {} 退出并说明原因，"
        "或者以 {} 退出并完成全部复制。"
    ),
    "Hostile input": "恶意输入",
    "hypothesis makes the inputs from the seed. Most of them are almost valid, and some are noise. No input may raise "
    "an undocumented exception, give an undocumented exit code, or make the webhook receiver answer with a status of {} "
    "or more, except {}. None may take more than a few seconds of processor time, forge a line of the log, or show a "
    "password. A digest may only come from one unambiguous {}.": (
        "输入由 hypothesis 根据随机种子生成，大部分只差一点就合法，其余是随机数据。任何输入都不得引发文档之外的异常，"
        "不得产生文档之外的退出码，也不得让 webhook 服务返回 {} 及以上的状态码（{} 除外）；不得占用超过几秒的 CPU 时间，"
        "不得伪造日志行，也不得泄露密码。只有唯一且含义明确的 {} 响应，其中的摘要才会被采用。"
    ),
    "Load": "负载",
    "The registries are distribution with TLS and an account, on loopback. Each pass must exit with {}, leave no file "
    "in TMPDIR, and make the targets equal to their sources. Of the passes in a row, `first` and `last` are the highest "
    "figures of the first and the last ten (of seconds, the median).": (
        "镜像仓库是本机回环上的 distribution，使用 TLS 和账户。每一轮的退出码必须为 {}，不在 TMPDIR 中留下文件，"
        "并让目标与源一致。连续多轮同步的“最初”和“最后”，是前十轮和后十轮中的最大值（用时取中位数）。"
    ),
    "The scheduled service is `entrypoint.py`, with a pass every second and a queue run every five, and `hook.py`. It "
    "runs at the same time as the other rows. Every push that `hook.py` accepts must be synced. Its figures are the "
    "lowest of many samples in five passes. Only memory may grow (by a tenth and {} MB), SQLite's log (to {} MB), and "
    "Go's threads (by four).": (
        "定时服务由 `entrypoint.py`（每秒一轮同步，每五秒一次队列同步）和 `hook.py` 组成，与其他各行同时运行。"
        "`hook.py` 接受的每次推送都必须同步。它的指标是五轮之间多次采样的最小值。只允许以下各项增长："
        "内存（十分之一再加 {} MB）、SQLite 的日志（到 {} MB 为止）、Go 的线程（四个）。"
    ),
}

HEADER = {
    "fault": "故障",
    "during": "阶段",
    "broken requests": "受影响的请求",
    "failed": "失败",
    "reasons": "原因",
    "seconds": "用时（秒）",
    "bound": "时限",
    "second pass": "第二轮",
    "place": "位置",
    "runs": "运行次数",
    "bytes searched": "搜索的字节数",
    "samples": "采样次数",
    "found": "找到",
    "what": "项目",
    "times": "次数",
    "broken promises": "违反保证的次数",
    "target": "对象",
    "inputs": "输入数",
    "per second": "每秒",
    "number": "数量",
    "figure": "指标",
    "first": "最初",
    "last": "最后",
}

NETWORK = {
    "connection refused": "连接被拒绝",
    "name does not exist": "域名不存在",
    "name server does not respond": "DNS 服务器无响应",
    "reset at a random byte": "在随机位置重置连接",
    "stalled forever": "传输卡住不动",
    "truncated body": "响应体被截断",
    "reset by toxiproxy": "toxiproxy 重置连接",
    "{} s latency": "延迟 {} 秒",
    "closed after {} bytes": "传输 {} 字节后关闭连接",
    "certificate: wrong name": "证书：名称不符",
    "certificate: expired": "证书：已过期",
    "certificate: unknown authority": "证书：CA 未知",
    "token expired early ({})": "令牌提前失效（{}）",
    "token refused ({})": "令牌服务拒绝（{}）",
    "token service answers {}": "令牌服务返回 {}",
    "temporary": "暂时",
    "content that does not match its digest": "内容与摘要不符",
    "GOAWAY with {} open streams": "GOAWAY，同时打开 {} 个流",
    "RST_STREAM with {} open streams": "RST_STREAM，同时打开 {} 个流",
    "all": "全部",
    "all, source": "源端，全部",
    "all, target": "目标端，全部",
    "token": "令牌",
    "look-up": "查询",
    "listing": "列出标签",
    "copy": "复制",
    "none": "无",
    "equal": "一致",
    "exit {}": "退出码 {}",
}
SUBJECTS = {"source": "源端", "target": "目标端", "copy": "复制时"}
KINDS = {
    "not found": "不存在",
    "unauthorised": "未授权",
    "denied": "被拒绝",
    "too many requests": "请求过多",
    "timed out": "超时",
    "not trusted": "证书不受信任",
    "unreachable": "无法访问",
    "failed": "失败",
}
REASONS = {
    f"{{}} {subject} {kind}": f"{chinese_subject}{chinese_kind} {{}} 个"
    for subject, chinese_subject in SUBJECTS.items()
    for kind, chinese_kind in KINDS.items()
}

PLACES = {
    "accounts of a pass, and other variables of the environment": "一轮同步的账户，以及其他环境变量",
    "accounts that a registry echoes in its errors": "镜像仓库在错误信息中回显的账户",
    "credentials of callers of the hook": "webhook 服务调用者的凭据",
    "core files of sync.py, crane and hook.py": "sync.py、crane 和 hook.py 的 core 文件",
    "wrong places in the files": "文件中不该写密码的位置",
    "values of other variables": "其他变量的值",
}
LURES = {
    "realm without TLS": "realm 不使用 TLS",
    "realm that is a loopback address": "realm 是回环地址",
    "redirect of the ping": "ping 被重定向",
    "redirect of the token request": "令牌请求被重定向",
    "redirect of a look-up ({})": "查询被重定向（{}）",
    "redirect of a list of tags": "列出标签的请求被重定向",
    "redirect of a blob or manifest": "blob 或 manifest 被重定向",
    "redirect of an upload": "上传被重定向",
    "Location of an upload": "上传的 Location 指向别处",
}
REDIRECTS = {f"{lure}: {{}} requests elsewhere": f"{chinese}：elsewhere 收到 {{}} 个请求" for lure, chinese in LURES.items()}

KILLS = {
    "disk of DATA_DIR full": "DATA_DIR 所在的磁盘已满",
    "disk of TMPDIR full": "TMPDIR 所在的磁盘已满",
    "DATA_DIR read-only": "DATA_DIR 只读",
    "clock set back": "时钟回拨",
}

FUZZ = {
    "accounts file": "账户文件",
    "images file": "镜像文件",
    "config.* and configs/sync.yaml": "config.* 和 configs/sync.yaml",
    "environment": "环境变量",
    "command line": "命令行",
    "references and values": "镜像名称和各种值",
    "lists of tags": "标签列表",
    "requests to the hook": "发给 webhook 服务的请求",
    "the status page": "状态页",
    "webhooks": "webhook",
    "challenges and tokens": "认证质询和令牌",
    "responses of a registry": "镜像仓库的响应",
    "crane's stderr": "crane 的 stderr",
    "passwords in texts": "文本中的密码",
    "long texts of repetitions": "大量重复的长文本",
    "output of crane": "crane 的输出",
    "raw bytes to the hook": "发给 webhook 服务的原始字节",
    "the hook after them": "承受以上输入之后的 webhook 服务",
    "bombs and giant files": "展开后极大的文件（如 YAML 炸弹）和超大文件",
    "whole programs": "整个程序",
}

LOAD = {
    "images; {} to copy, then none": "镜像：一轮有 {} 个要复制，一轮没有",
    "images; none to copy": "镜像：没有要复制的",
    "tags of a repository; {} to copy, then none": "一个存储库的标签：一轮有 {} 个要复制，一轮没有",
    "tags of a repository; none to copy": "一个存储库的标签：没有要复制的",
    "passes in a row over {} images, of which one changed": "连续多轮同步 {} 个镜像，每轮有一个变化",
    "scheduled service": "定时服务",
    "{}, then {}": "先 {}，后 {}",
    "{} passes, {} queue runs, {} pushes": "{} 轮同步，{} 次队列同步，{} 次推送",
    "memory": "内存",
    "memory with cranes": "内存（含 crane）",
    "most threads": "线程数峰值",
    "most descriptors": "文件描述符数峰值",
    "files in DATA_DIR": "DATA_DIR 中的文件数",
    "bytes in DATA_DIR": "DATA_DIR 的字节数",
    "files in TMPDIR": "TMPDIR 中的文件数",
    "processes below entrypoint.py": "entrypoint.py 的子进程数",
    **{f"memory of {name}": f"{name} 的内存" for name in ("entrypoint.py", "hook.py", "supercronic")},
    **{f"threads of {name}": f"{name} 的线程数" for name in ("entrypoint.py", "hook.py", "supercronic")},
    **{f"descriptors of {name}": f"{name} 的文件描述符数" for name in ("entrypoint.py", "hook.py", "supercronic")},
}

# Numbers, names of programs and terms of protocols.
UNCHANGED = (
    *("", "{}", "{} MB", "{} kB/s", "ping", "Retry-After: {}", "SIGKILL", "SIGTERM"),
    *("sync.py", "crane", "entrypoint.py", "supercronic", "hook.py"),
)

CHINESE: Mapping[str, str] = {
    **{text: text for text in UNCHANGED},
    **PAGE,
    **HEADER,
    **NETWORK,
    **REASONS,
    **PLACES,
    **REDIRECTS,
    **KILLS,
    **FUZZ,
    **LOAD,
}
to_chinese = translator(CHINESE, "fire/chinese.py")
