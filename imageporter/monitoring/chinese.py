"""The words of the page in Chinese."""

from imageporter.monitoring.messages import Headlines

CHINESE_HEADLINES = Headlines(
    locked="另一轮同步仍在运行",
    interrupted="已中断，{total} 个镜像中有 {failed} 个未完成",
    missing="{shards} 个分片中有 {missing} 个没有运行，{total} 个镜像中有 {failed} 个失败",
    problems="无法开始",
    failed="{total} 个镜像中有 {failed} 个失败",
    equal="{total} 个镜像全部是最新的",
    one_equal="镜像是最新的",
    nothing="没有镜像",
    copied="，复制了 {copied} 个",
    queue_run="队列同步：",
)
CHINESE = {
    "Sync all now": "立即同步全部",
    "Sync now": "立即同步",
    "Last pass": "上次同步",
    "exit code": "退出码",
    "none yet": "尚无",
    "Failing since": "持续失败，始于",
    "Last success": "上次成功",
    "Next pass": "下次同步",
    "overdue, or it is running": "已逾期，或正在运行",
    "Queue": "队列",
    "the oldest since": "最早一条入队于",
    "Pulls left": "剩余拉取次数",
    "Search images": "搜索镜像",
    "Search": "搜索",
    "Image": "镜像",
    "Outcome": "结果",
    "Digest": "摘要",
    "Last verified": "上次核对",
    "Last copied": "上次复制",
    "since": "始于",
    "No image.": "没有镜像。",
    "all": "全部",
    "copied": "已复制",
    "skipped": "已是最新",
    "up to date": "已是最新",
    "queued": "已入队列",
    "failed": "失败",
    "interrupted": "已中断",
    "The queue has no room for more images; wait for the next queue run.": "队列已满，请等待下一次队列同步。",
    "No rule has this image now, or only a full pass can sync it.": "目前没有规则包含这个镜像，或者只有完整同步才能处理。",
    "Queued: {}. The next queue run or the next full pass syncs them.": (
        "已加入队列：{} 个镜像，将在下一次队列同步或完整同步时处理。"
    ),
}
